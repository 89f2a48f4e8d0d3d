-- How a letter ended, and what is asked of them: the order within one key, those that stand, and the old ones.
ALTER TABLE outbox ADD COLUMN note TEXT;
ALTER TABLE outbox ADD COLUMN sent_at INTEGER;
CREATE INDEX outbox_key    ON outbox (topic, key, id) WHERE status IN ('pending', 'processing');
CREATE INDEX outbox_stands ON outbox (status, id)     WHERE status IN ('pending', 'processing', 'dead');
CREATE INDEX outbox_sent   ON outbox (sent_at)        WHERE status = 'sent';
