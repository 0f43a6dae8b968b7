-- trading.symbols: the catalogue, with the latest price in metadata -> 'last_update'.
--
-- The table may be the user's own, with an id of another type and other columns: only what is
-- missing is added, nothing is changed or dropped. Columns added to rows that exist stay NULL
-- where a value would be a guess (created_at), so the default is set afterwards.

DO $assetq$
DECLARE
    wanted record;
BEGIN
    -- Looked up first: CREATE SCHEMA IF NOT EXISTS asks for the right to create even when the
    -- schema is there, and ALTER TABLE for ownership.
    IF to_regnamespace('trading') IS NULL THEN
        CREATE SCHEMA trading;
    END IF;

    IF to_regclass('trading.symbols') IS NULL THEN
        CREATE TABLE trading.symbols (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            symbol text NOT NULL
        );
    END IF;

    FOR wanted IN
        SELECT * FROM (VALUES
            ('polygon_ticker', 'text', NULL),
            ('asset_type', 'text', NULL),
            ('name', 'text', NULL),
            ('priority', 'integer', NULL),
            ('update_frequency_seconds', 'integer', NULL),
            ('is_active', 'boolean NOT NULL DEFAULT true', NULL),
            ('metadata', 'jsonb', NULL),
            ('created_at', 'timestamptz', 'now()'),
            ('updated_at', 'timestamptz', 'now()')
        ) AS columns (name, definition, default_later)
    LOOP
        IF NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = 'trading.symbols'::regclass
              AND attname = wanted.name AND NOT attisdropped
        ) THEN
            EXECUTE format('ALTER TABLE trading.symbols ADD COLUMN %I %s',
                           wanted.name, wanted.definition);
            IF wanted.default_later IS NOT NULL THEN
                EXECUTE format('ALTER TABLE trading.symbols ALTER COLUMN %I SET DEFAULT %s',
                               wanted.name, wanted.default_later);
            END IF;
        END IF;
    END LOOP;

    IF NOT EXISTS (
        SELECT FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attname = 'symbol'
        WHERE i.indrelid = 'trading.symbols'::regclass
          AND i.indisunique AND i.indisvalid AND i.indimmediate
          AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum
    ) THEN
        CREATE UNIQUE INDEX assetq_symbols_symbol ON trading.symbols (symbol);
    END IF;
END
$assetq$;
