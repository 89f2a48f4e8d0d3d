-- The forum at a million posts. What queues and lists are ordered and chosen by stands in columns of its own, a post's
-- row is its place in the journal (so that the search index may name it, also after VACUUM), and what faces count is kept.
ALTER TABLE thread RENAME TO thread_before;
CREATE TABLE thread (
    thread_id  TEXT PRIMARY KEY,
    doc        TEXT NOT NULL,
    run_id     TEXT,
    ticket     TEXT NOT NULL,
    workspace  TEXT,
    agent_name TEXT,
    state      TEXT NOT NULL,
    urgency    INTEGER NOT NULL,              -- 0 urgent to 3 low
    waiting_on TEXT,
    since      TEXT NOT NULL,                 -- when it began to wait, else when it was opened
    blocking   INTEGER NOT NULL,
    control    INTEGER NOT NULL,
    assignee   TEXT,                          -- type:name
    last_seq   INTEGER NOT NULL
) STRICT;
INSERT INTO thread
    SELECT thread_id, doc, run_id, ticket, workspace, agent_name, state, urgency, waiting_on, since, blocking,
           coalesce(doc ->> '$.control', 0), assignee, last_seq
    FROM thread_before;
DROP TABLE thread_before;
CREATE INDEX thread_newest   ON thread (last_seq DESC);
CREATE INDEX thread_run      ON thread (run_id, last_seq DESC) WHERE run_id IS NOT NULL;
CREATE INDEX thread_ticket   ON thread (ticket, last_seq DESC);
CREATE INDEX thread_state    ON thread (state, last_seq DESC);
CREATE INDEX thread_waiting  ON thread (waiting_on, urgency, since, thread_id) WHERE waiting_on IS NOT NULL;
CREATE INDEX thread_assigned ON thread (assignee, urgency, since, thread_id) WHERE assignee IS NOT NULL AND state <> 'closed';
CREATE INDEX thread_own      ON thread (run_id, workspace, agent_name, urgency, since, thread_id) WHERE agent_name IS NOT NULL;
CREATE INDEX thread_blocking ON thread (run_id, thread_id) WHERE blocking = 1;

ALTER TABLE post RENAME TO post_before;
CREATE TABLE post (
    seq         INTEGER PRIMARY KEY,
    post_id     TEXT NOT NULL,                -- its event's id with .post: found by the journal's index
    thread_id   TEXT NOT NULL,
    author_type TEXT NOT NULL,
    author_name TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    signal      TEXT,
    in_reply_to TEXT,
    body        TEXT NOT NULL
) STRICT;
INSERT INTO post
    SELECT seq, post_id, thread_id, author_type, author_name, created_at, signal, in_reply_to, body FROM post_before;
DROP TABLE post_before;
CREATE INDEX post_thread ON post (thread_id);

-- What is searched: a thread's title goes with its first post. Filled from the newest post to the oldest, `below`
-- says how far; what is posted meanwhile is indexed at once.
CREATE VIEW post_text AS
    SELECT post.seq AS seq,
           CASE WHEN post.seq = (SELECT min(first.seq) FROM post AS first WHERE first.thread_id = post.thread_id)
                THEN (SELECT doc ->> '$.title' FROM thread WHERE thread.thread_id = post.thread_id) END AS title,
           post.body AS body
    FROM post;
CREATE VIRTUAL TABLE search USING fts5 (
    title, body, content = 'post_text', content_rowid = 'seq', tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3 4'
);
CREATE TABLE search_state (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    below INTEGER NOT NULL,                   -- posts before this place are not indexed yet
    above INTEGER NOT NULL                    -- where indexing began
) STRICT;
INSERT INTO search_state SELECT 1, coalesce(max(seq), 0) + 1, coalesce(max(seq), 0) + 1 FROM post;

-- What faces count, kept with each change. Made from the tables above by kept.sql.
CREATE TABLE thread_tally (
    state   TEXT    NOT NULL,
    urgency INTEGER NOT NULL,
    waiting TEXT    NOT NULL,                 -- the side that has to speak, or nothing
    control INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (state, urgency, waiting, control)
) STRICT, WITHOUT ROWID;
CREATE TABLE assignee_tally (                 -- open threads by whom they are assigned to
    assignee TEXT    NOT NULL,
    waiting  TEXT    NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (assignee, waiting)
) STRICT, WITHOUT ROWID;
CREATE TABLE post_tally (author_type TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- What people and the operator have seen: for each of them the stretches of threads, by newest activity, in which they
-- have seen every one. Somebody who has seen everything has a single row, however many threads there are.
CREATE TABLE viewer (viewer TEXT PRIMARY KEY, seen INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE seen_stretch (
    viewer TEXT    NOT NULL,
    last   INTEGER NOT NULL,                  -- `last_seq` of its newest thread
    first  INTEGER NOT NULL,                  -- and of its oldest
    PRIMARY KEY (viewer, last)
) STRICT, WITHOUT ROWID;

-- Keys of commands that changed nothing: no event carries them.
CREATE TABLE idle_key (
    key       TEXT PRIMARY KEY,
    command   TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    thread_id TEXT
) STRICT, WITHOUT ROWID;
