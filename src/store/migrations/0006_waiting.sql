-- What waits for a human is asked for at every look at a run, and at the home outside of every run: by priority, the
-- longest first.
CREATE INDEX thread_waits ON thread (run_id, urgency, since, thread_id) WHERE waiting_on = 'human';

-- What stands is little beside what ever stood, and is asked for in its order.
CREATE INDEX escalation_standing ON escalation (opened_at DESC, escalation_id DESC) WHERE stands;
CREATE INDEX suggestion_standing ON suggestion (created_at DESC, suggestion_id DESC) WHERE open;

-- Who wrote a post down, where that is not whose words it holds: neither has anything new to see in it.
ALTER TABLE post ADD COLUMN writer_type TEXT;
ALTER TABLE post ADD COLUMN writer_name TEXT;
UPDATE post SET (writer_type, writer_name) = (SELECT actor_type, actor_name FROM journal WHERE journal.seq = post.seq)
    WHERE EXISTS (SELECT 1 FROM journal WHERE journal.seq = post.seq
                      AND (actor_type, actor_name) IS NOT (author_type, author_name));
