-- When an agent's worktree last showed progress is rewritten like its other vitals: an age is no event.
ALTER TABLE vitals ADD COLUMN last_progress_at INTEGER;
-- Who waits for a limit to pass is asked for at every look of the rules; there is nobody, nearly always.
ALTER TABLE agent ADD COLUMN limited TEXT AS (CASE doc ->> '$.waiting_for' WHEN 'limit' THEN doc ->> '$.spec.runner' END);
CREATE INDEX agent_limited ON agent (limited, run_id, workspace, name) WHERE limited IS NOT NULL;
