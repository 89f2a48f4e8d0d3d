-- Who went with the tmux server is asked for at every tick; there are none, nearly always.
ALTER TABLE agent ADD COLUMN server_lost TEXT AS (doc ->> '$.exit.server_lost');
CREATE INDEX agent_lost ON agent (run_id, workspace, name) WHERE server_lost IS NOT NULL;
