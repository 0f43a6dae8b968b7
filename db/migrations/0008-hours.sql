-- assetq.hours: an hour's figures, kept for 90 days. Written by the ticks of the workers, at most
-- once a minute; 90 days are 2,160 rows.

DO $assetq$
BEGIN
    IF to_regclass('assetq.hours') IS NULL THEN
        CREATE TABLE assetq.hours (
            provider text NOT NULL,
            hour timestamptz NOT NULL,
            noted_at timestamptz NOT NULL,
            prices integer NOT NULL,
            bars integer NOT NULL,
            history integer NOT NULL,
            probes integer NOT NULL,
            refused integer NOT NULL,
            idle_ms bigint NOT NULL,
            waits integer[] NOT NULL,
            assets integer,
            stale integer,
            lacking integer,
            causes jsonb NOT NULL,
            seen jsonb NOT NULL,
            PRIMARY KEY (provider, hour)
        );
    END IF;
END
$assetq$;

COMMENT ON TABLE assetq.hours IS
    'assetq: what the calls of each hour bought, and how long items waited; kept for 90 days.';
COMMENT ON COLUMN assetq.hours.noted_at IS 'When the newest figures were added.';
COMMENT ON COLUMN assetq.hours.prices IS 'Calls of the bands critical to low.';
COMMENT ON COLUMN assetq.hours.bars IS 'Calls for the bars of new days.';
COMMENT ON COLUMN assetq.hours.history IS 'Calls for bars of older days, which nothing else needed.';
COMMENT ON COLUMN assetq.hours.probes IS 'Those of the calls that tried whether the provider is back.';
COMMENT ON COLUMN assetq.hours.refused IS 'Those of the calls that brought no good answer.';
COMMENT ON COLUMN assetq.hours.idle_ms IS
    'How long permits were free while something waited, in slot-milliseconds.';
COMMENT ON COLUMN assetq.hours.waits IS
    'How long items of the bands critical to low had waited: a number for each bucket.';
COMMENT ON COLUMN assetq.hours.assets IS 'Assets that the last secondary round looked at.';
COMMENT ON COLUMN assetq.hours.stale IS 'Those of them that were older than they should be.';
COMMENT ON COLUMN assetq.hours.lacking IS 'Calls that their series lacked until they are whole.';
COMMENT ON COLUMN assetq.hours.causes IS 'Cause of trouble → for how many seconds of the hour.';
COMMENT ON COLUMN assetq.hours.seen IS 'The counters in Redis when it was noted.';
