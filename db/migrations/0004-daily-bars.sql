-- market_data.ohlcv_1d: the provider's daily bars, one row per symbol and UTC day. Like ohlcv_5m,
-- see there; ts is the first instant of the day.

DO $assetq$
DECLARE
    id_type text;
    wanted record;
BEGIN
    SELECT format_type(atttypid, atttypmod) INTO STRICT id_type
    FROM pg_attribute
    WHERE attrelid = 'trading.symbols'::regclass AND attname = 'id' AND NOT attisdropped;

    IF to_regclass('market_data.ohlcv_1d') IS NULL THEN
        EXECUTE format($table$
            CREATE TABLE market_data.ohlcv_1d (
                symbol_id %s NOT NULL,
                ts timestamptz NOT NULL,
                open numeric NOT NULL,
                high numeric NOT NULL,
                low numeric NOT NULL,
                close numeric NOT NULL,
                volume numeric NOT NULL,
                vwap numeric,
                trades bigint,
                source text NOT NULL,
                observed_at_ms bigint NOT NULL,
                PRIMARY KEY (symbol_id, ts)
            )$table$, id_type);
    END IF;

    FOR wanted IN
        SELECT * FROM (VALUES
            ('symbol_id', id_type), ('ts', 'timestamptz'),
            ('open', 'numeric'), ('high', 'numeric'), ('low', 'numeric'), ('close', 'numeric'),
            ('volume', 'numeric'), ('vwap', 'numeric'), ('trades', 'bigint'),
            ('source', 'text'), ('observed_at_ms', 'bigint')
        ) AS columns (name, definition)
    LOOP
        IF NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = 'market_data.ohlcv_1d'::regclass
              AND attname = wanted.name AND NOT attisdropped
        ) THEN
            EXECUTE format('ALTER TABLE market_data.ohlcv_1d ADD COLUMN %I %s',
                           wanted.name, wanted.definition);
        END IF;
    END LOOP;

    IF NOT EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = 'market_data.ohlcv_1d'::regclass
          AND i.indisunique AND i.indisvalid AND i.indimmediate
          AND i.indpred IS NULL AND i.indnkeyatts = 2
          AND (SELECT array_agg(a.attname::text ORDER BY a.attname)
               FROM pg_attribute AS a
               WHERE a.attrelid = i.indrelid AND a.attnum IN (i.indkey[0], i.indkey[1]))
              = ARRAY['symbol_id', 'ts']
    ) THEN
        CREATE UNIQUE INDEX assetq_ohlcv_1d_symbol_ts ON market_data.ohlcv_1d (symbol_id, ts);
    END IF;
END
$assetq$;
