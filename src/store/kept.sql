-- Counts and stretches made anew from threads, posts and marks. `{at}` is where the tables are.
DELETE FROM {at}thread_tally;
INSERT INTO {at}thread_tally
    SELECT state, urgency, coalesce(waiting_on, ''), control, count(*) FROM {at}thread GROUP BY 1, 2, 3, 4;
DELETE FROM {at}assignee_tally;
INSERT INTO {at}assignee_tally
    SELECT assignee, coalesce(waiting_on, ''), count(*) FROM {at}thread
    WHERE assignee IS NOT NULL AND state <> 'closed' GROUP BY 1, 2;
DELETE FROM {at}post_tally;
INSERT INTO {at}post_tally SELECT author_type, count(*) FROM {at}post GROUP BY 1;

DELETE FROM {at}viewer;
INSERT INTO {at}viewer
    SELECT viewer, 0 FROM (
        SELECT viewer FROM {at}seen WHERE viewer = 'operator' OR viewer LIKE 'human:%'
        UNION SELECT 'operator' FROM {at}post WHERE author_type = 'operator'
        UNION SELECT 'human:' || author_name FROM {at}post WHERE author_type = 'human'
        UNION SELECT 'operator' FROM {at}post WHERE writer_type = 'operator'
        UNION SELECT 'human:' || writer_name FROM {at}post WHERE writer_type = 'human');
DELETE FROM {at}seen_stretch;
-- A thread is seen when nobody else has spoken or written after the mark. Neighbours that are alike make a stretch.
INSERT INTO {at}seen_stretch
    WITH looked AS (
        SELECT viewer.viewer, thread.last_seq,
               NOT EXISTS (
                   SELECT 1 FROM {at}post AS post WHERE post.thread_id = thread.thread_id
                       AND post.seq > coalesce((SELECT seen.seq FROM {at}seen AS seen
                               WHERE seen.thread_id = thread.thread_id AND seen.viewer = viewer.viewer), 0)
                       AND CASE post.author_type WHEN 'human' THEN 'human:' || post.author_name
                               ELSE post.author_type END <> viewer.viewer
                       AND CASE post.writer_type WHEN 'human' THEN 'human:' || post.writer_name
                               ELSE post.writer_type END IS NOT viewer.viewer
               ) AS seen
        FROM {at}viewer AS viewer CROSS JOIN {at}thread AS thread
    ), placed AS (
        SELECT viewer, last_seq, seen,
               row_number() OVER (PARTITION BY viewer ORDER BY last_seq)
               - row_number() OVER (PARTITION BY viewer, seen ORDER BY last_seq) AS stretch
        FROM looked
    )
    SELECT viewer, max(last_seq), min(last_seq) FROM placed WHERE seen GROUP BY viewer, stretch;
UPDATE {at}viewer AS viewer SET seen = (
    SELECT count(*) FROM {at}seen_stretch AS stretch JOIN {at}thread AS thread
        ON thread.last_seq BETWEEN stretch.first AND stretch.last
    WHERE stretch.viewer = viewer.viewer);
