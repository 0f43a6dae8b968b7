-- Looked up first: CREATE SCHEMA IF NOT EXISTS asks for the right to create even if it exists.
DO $assetq$
BEGIN
    IF to_regnamespace('assetq') IS NULL THEN
        CREATE SCHEMA assetq;
    END IF;
    IF to_regclass('assetq.migrations') IS NULL THEN
        CREATE TABLE assetq.migrations (
            name text PRIMARY KEY,
            applied_at timestamptz NOT NULL DEFAULT now()
        );
    END IF;
END
$assetq$;
