-- What reviewers said to the pull requests of a run. `doc` is the whole row, as in 0001.
CREATE TABLE review_feedback (
    run_id      TEXT NOT NULL,
    workspace   TEXT NOT NULL,
    repo        TEXT NOT NULL,
    feedback_id TEXT NOT NULL,
    doc         TEXT NOT NULL,
    PRIMARY KEY (run_id, workspace, repo, feedback_id)
) STRICT, WITHOUT ROWID;
