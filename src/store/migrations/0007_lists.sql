-- Lists by priority, agent or assignee alone: few of a million threads fit, and all of them would be walked.
CREATE INDEX thread_urgency ON thread (urgency, last_seq DESC);
CREATE INDEX thread_agent   ON thread (agent_name, last_seq DESC) WHERE agent_name IS NOT NULL;
CREATE INDEX thread_holder  ON thread (substr(assignee, instr(assignee, ':') + 1), last_seq DESC) WHERE assignee IS NOT NULL;
