-- The pull request of each repository of a run. `doc` is the whole row, as in 0001.
CREATE TABLE pull_request (
    run_id    TEXT NOT NULL,
    workspace TEXT NOT NULL,
    repo      TEXT NOT NULL,
    doc       TEXT NOT NULL,
    PRIMARY KEY (run_id, workspace, repo)
) STRICT, WITHOUT ROWID;
