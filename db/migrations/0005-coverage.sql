-- market_data.coverage_days: what was asked for of each series and UTC day, and what came. Written
-- in the transaction that stores the bars, so that it is never ahead of them. A day without a row
-- was never asked for, whatever bars are stored. 2,000 assets and two years are 1.5 million rows,
-- some 170 MB, beside 420 million bars.
-- market_data.coverage (0011) is the same for people, with a status.

DO $assetq$
DECLARE
    id_type text;
BEGIN
    SELECT format_type(atttypid, atttypmod) INTO STRICT id_type
    FROM pg_attribute
    WHERE attrelid = 'trading.symbols'::regclass AND attname = 'id' AND NOT attisdropped;

    IF to_regclass('market_data.coverage_days') IS NULL THEN
        EXECUTE format($table$
            CREATE TABLE market_data.coverage_days (
                symbol_id %s NOT NULL,
                timeframe text NOT NULL CHECK (timeframe IN ('5m', '1d')),
                day date NOT NULL,
                asked_at timestamptz NOT NULL,
                whole boolean NOT NULL,
                bars integer NOT NULL,
                refused integer NOT NULL,
                expected integer NOT NULL,
                agrees boolean,
                look_again_at timestamptz,
                PRIMARY KEY (symbol_id, timeframe, day)
            )$table$, id_type);
    END IF;
END
$assetq$;

COMMENT ON TABLE market_data.coverage_days IS
    'assetq: what was asked for of each series and UTC day. Read market_data.coverage.';
COMMENT ON COLUMN market_data.coverage_days.asked_at IS
    'When the newest call was granted that counts for this day.';
COMMENT ON COLUMN market_data.coverage_days.whole IS
    'Whether one answer speaks for the whole day: all of it was asked for, after its end, and the answer was not cut.';
COMMENT ON COLUMN market_data.coverage_days.bars IS 'Bars that came and were stored.';
COMMENT ON COLUMN market_data.coverage_days.refused IS 'Bars that came and could not be stored.';
COMMENT ON COLUMN market_data.coverage_days.expected IS
    'Bars that a full day of this market has; 0: the market was closed.';
COMMENT ON COLUMN market_data.coverage_days.agrees IS
    'Whether the 5-minute bars add up to the daily bar; NULL: there is no daily bar.';
COMMENT ON COLUMN market_data.coverage_days.look_again_at IS
    'When the day is to be asked for once more (late repairs, gaps); NULL: never.';
