-- The journal: what happened. Everything below "projections" is rebuilt from it.
CREATE TABLE journal (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id       TEXT    NOT NULL UNIQUE,
    event_type     TEXT    NOT NULL,
    event_version  INTEGER NOT NULL,
    occurred_at    INTEGER NOT NULL,          -- milliseconds since 1970
    run_id         TEXT,
    ticket         TEXT,
    workspace      TEXT,
    agent_name     TEXT,
    thread_id      TEXT,
    actor_type     TEXT    NOT NULL,
    actor_name     TEXT    NOT NULL,
    correlation_id TEXT    NOT NULL,
    causation_id   TEXT,
    payload        TEXT    NOT NULL,
    command        TEXT                       -- fingerprint of the command, where the caller gave a key
) STRICT;
CREATE INDEX journal_run    ON journal (run_id, seq)    WHERE run_id IS NOT NULL;
CREATE INDEX journal_thread ON journal (thread_id, seq) WHERE thread_id IS NOT NULL;

-- Projections. `doc` is the whole row as JSON; the other columns are drawn from it for the indexes.
CREATE TABLE run (
    run_id     TEXT PRIMARY KEY,
    doc        TEXT NOT NULL,
    status     TEXT    AS (doc ->> '$.status'),
    dry_run    INTEGER AS (doc ->> '$.spec.dry_run'),
    last_seq   INTEGER AS (doc ->> '$.last_seq')
) STRICT, WITHOUT ROWID;
CREATE INDEX run_newest ON run (last_seq DESC);

CREATE TABLE run_policy (run_id TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE run_ticket (
    ticket TEXT NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (ticket, run_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE step (
    run_id     TEXT NOT NULL,
    step_index INTEGER NOT NULL,
    doc        TEXT NOT NULL,
    PRIMARY KEY (run_id, step_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE agent (
    run_id    TEXT NOT NULL,
    workspace TEXT NOT NULL,
    name      TEXT NOT NULL,
    doc       TEXT NOT NULL,
    session   TEXT AS (doc ->> '$.spec.session'),
    PRIMARY KEY (run_id, workspace, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_session ON agent (session);

CREATE TABLE workspace (
    run_id TEXT NOT NULL,
    name   TEXT NOT NULL,
    doc    TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX workspace_name ON workspace (name);

CREATE TABLE seeding (
    run_id    TEXT NOT NULL,
    workspace TEXT NOT NULL,
    ticket    TEXT NOT NULL,
    doc       TEXT NOT NULL,
    PRIMARY KEY (run_id, workspace, ticket)
) STRICT, WITHOUT ROWID;

CREATE TABLE own_file (
    run_id    TEXT NOT NULL,
    workspace TEXT NOT NULL,
    repo      TEXT NOT NULL,
    path      TEXT NOT NULL,
    blob      TEXT NOT NULL,
    PRIMARY KEY (run_id, workspace, repo, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE own_commit (
    run_id    TEXT NOT NULL,
    workspace TEXT NOT NULL,
    repo      TEXT NOT NULL,
    sha       TEXT NOT NULL,
    message   TEXT NOT NULL,
    PRIMARY KEY (run_id, workspace, repo, sha)
) STRICT, WITHOUT ROWID;

CREATE TABLE merged (
    run_id    TEXT NOT NULL,
    workspace TEXT NOT NULL,
    repo      TEXT NOT NULL,
    doc       TEXT NOT NULL,
    PRIMARY KEY (run_id, workspace, repo)
) STRICT, WITHOUT ROWID;

CREATE TABLE thread (
    thread_id     TEXT PRIMARY KEY,
    doc           TEXT NOT NULL,
    run_id        TEXT    AS (doc ->> '$.run_id'),
    ticket        TEXT    AS (doc ->> '$.ticket'),
    workspace     TEXT    AS (doc ->> '$.workspace'),
    agent_name    TEXT    AS (doc ->> '$.agent_name'),
    state         TEXT    AS (doc ->> '$.state'),
    priority      TEXT    AS (doc ->> '$.priority'),
    urgency       INTEGER AS (CASE doc ->> '$.priority' WHEN 'urgent' THEN 0 WHEN 'high' THEN 1 WHEN 'normal' THEN 2 ELSE 3 END),
    waiting_on    TEXT    AS (doc ->> '$.waiting_on'),
    since         TEXT    AS (coalesce(doc ->> '$.waiting_since', doc ->> '$.opened_at')),
    blocking      INTEGER AS (doc ->> '$.blocking'),
    assignee      TEXT    AS (CASE WHEN doc ->> '$.assignee_type' IS NOT NULL THEN (doc ->> '$.assignee_type') || ':' || (doc ->> '$.assignee_name') END),
    last_seq      INTEGER AS (doc ->> '$.last_event_sequence')
) STRICT;
CREATE INDEX thread_newest   ON thread (last_seq DESC);
CREATE INDEX thread_run      ON thread (run_id, last_seq DESC);
CREATE INDEX thread_ticket   ON thread (ticket, last_seq DESC);
CREATE INDEX thread_waiting  ON thread (waiting_on, urgency, since, thread_id) WHERE waiting_on IS NOT NULL;
CREATE INDEX thread_assigned ON thread (assignee, urgency, since, thread_id) WHERE assignee IS NOT NULL;
CREATE INDEX thread_blocking ON thread (run_id, thread_id) WHERE blocking = 1;

CREATE TABLE post (
    post_id     TEXT PRIMARY KEY,
    thread_id   TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    author_type TEXT NOT NULL,
    author_name TEXT NOT NULL,
    body        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    signal      TEXT,
    in_reply_to TEXT
) STRICT;
CREATE INDEX post_thread ON post (thread_id, seq);

CREATE TABLE request (
    post_id   TEXT PRIMARY KEY,
    doc       TEXT NOT NULL,
    thread_id TEXT    AS (doc ->> '$.thread_id'),
    run_id    TEXT    AS (doc ->> '$.run_id'),
    open      INTEGER AS (doc ->> '$.settled_by' IS NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_thread ON request (thread_id);
CREATE INDEX request_run    ON request (run_id) WHERE open;

CREATE TABLE seen (
    thread_id TEXT NOT NULL,
    viewer    TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    PRIMARY KEY (thread_id, viewer)
) STRICT, WITHOUT ROWID;

-- Not projections: delivery state, what is rewritten without an event, and facts about the file itself.
CREATE TABLE outbox (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    seq           INTEGER NOT NULL,
    topic         TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    payload       TEXT    NOT NULL,
    status        TEXT    NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processing', 'sent', 'dead')),
    attempts      INTEGER NOT NULL DEFAULT 0,
    due_at        INTEGER NOT NULL,
    claimed_until INTEGER,
    created_at    INTEGER NOT NULL,
    last_error    TEXT
) STRICT;
CREATE INDEX outbox_due ON outbox (due_at, id) WHERE status IN ('pending', 'processing');

CREATE TABLE vitals (
    run_id         TEXT NOT NULL,
    workspace      TEXT NOT NULL,
    name           TEXT NOT NULL,
    last_output_at INTEGER,
    last_seen_at   INTEGER NOT NULL,
    pid            INTEGER,
    PRIMARY KEY (run_id, workspace, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
