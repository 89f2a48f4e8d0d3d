-- What the rules concluded and what waits on a human. `doc` is the whole row, as in 0001.
CREATE TABLE decision (
    run_id TEXT NOT NULL,
    target TEXT NOT NULL,
    doc    TEXT NOT NULL,
    PRIMARY KEY (run_id, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE escalation (
    escalation_id TEXT PRIMARY KEY,
    doc           TEXT NOT NULL,
    run_id        TEXT    AS (doc ->> '$.run_id'),
    target        TEXT    AS (doc ->> '$.target'),
    opened_at     TEXT    AS (doc ->> '$.opened_at'),
    stands        INTEGER AS (doc ->> '$.state' <> 'resolved')
) STRICT, WITHOUT ROWID;
CREATE INDEX escalation_newest ON escalation (opened_at DESC, escalation_id DESC);
CREATE INDEX escalation_target ON escalation (run_id, target);
CREATE INDEX escalation_stands ON escalation (run_id) WHERE stands;

CREATE TABLE suggestion (
    suggestion_id TEXT PRIMARY KEY,
    doc           TEXT NOT NULL,
    run_id        TEXT    AS (doc ->> '$.run_id'),
    target        TEXT    AS (doc ->> '$.target'),
    created_at    TEXT    AS (doc ->> '$.created_at'),
    open          INTEGER AS (doc ->> '$.state' = 'open')
) STRICT, WITHOUT ROWID;
CREATE INDEX suggestion_newest ON suggestion (created_at DESC, suggestion_id DESC);
CREATE INDEX suggestion_target ON suggestion (run_id, target);
CREATE INDEX suggestion_open   ON suggestion (run_id) WHERE open;
