-- Texts on their way into agents' sessions. `doc` is the whole row, as in 0001.
CREATE TABLE delivery (
    delivery_id TEXT PRIMARY KEY,
    doc         TEXT NOT NULL,
    run_id      TEXT    AS (doc ->> '$.key.run_id'),
    thread_id   TEXT    AS (doc ->> '$.thread_id'),
    last_seq    INTEGER AS (doc ->> '$.last_seq'),
    open        INTEGER AS (doc ->> '$.settled_at' IS NULL)
) STRICT;
CREATE INDEX delivery_newest ON delivery (last_seq DESC);
CREATE INDEX delivery_open   ON delivery (run_id)    WHERE open;
CREATE INDEX delivery_thread ON delivery (thread_id) WHERE thread_id IS NOT NULL;
