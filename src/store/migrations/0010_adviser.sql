-- What is kept of the adviser, by run, and under no name of its program. `doc` is the whole row, as in 0001.
CREATE TABLE adviser (
    run_id TEXT PRIMARY KEY,
    doc    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Whether anything of a run is down or hangs is asked at every look of the rules.
ALTER TABLE agent ADD COLUMN ill INTEGER AS (CASE WHEN doc ->> '$.status' IN ('dead', 'failed', 'stalled') THEN 1 END);
CREATE INDEX agent_ill ON agent (run_id) WHERE ill IS NOT NULL;
