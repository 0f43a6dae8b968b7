-- A role that may do what workers, scheduler and web need, and nothing else. Run it after each
-- `assetq migrate`, as the owner of the tables. Only the first time it creates the role, which needs
-- CREATEROLE: an administrator may do that beforehand, CREATE ROLE assetq_worker NOLOGIN.
--
--     psql "$DATABASE_URL" -1 -v ON_ERROR_STOP=1 -f db/sql/grants.sql
--
-- Then let the administrator put the program's login into it: GRANT assetq_worker TO the_login;
-- `assetq migrate` and `assetq symbols import` and `remove` stay with the owner.

DO $assetq$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'assetq_worker') THEN
        CREATE ROLE assetq_worker NOLOGIN;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE insufficient_privilege USING
        MESSAGE = format('%I may not create the role assetq_worker', current_user),
        HINT = 'Let an administrator run CREATE ROLE assetq_worker NOLOGIN once, then run this '
            'file again as the owner of the tables.';
END
$assetq$;

GRANT USAGE ON SCHEMA trading, market_data, data_sources, assetq TO assetq_worker;

GRANT SELECT, UPDATE (metadata, is_active, updated_at) ON trading.symbols TO assetq_worker;
GRANT SELECT, INSERT, UPDATE ON market_data.ohlcv_5m, market_data.ohlcv_1d,
    market_data.coverage_days TO assetq_worker;
GRANT SELECT ON market_data.coverage, trading.latest_prices TO assetq_worker;
GRANT SELECT, UPDATE (last_active_at) ON data_sources.api_providers TO assetq_worker;
GRANT SELECT, INSERT, UPDATE ON data_sources.data_sync_status TO assetq_worker;
GRANT SELECT, INSERT, DELETE ON data_sources.api_calls TO assetq_worker;
GRANT SELECT ON assetq.migrations TO assetq_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON assetq.hours TO assetq_worker;

-- Only for tables of your own whose ids come from a sequence.
GRANT USAGE ON ALL SEQUENCES IN SCHEMA market_data, data_sources TO assetq_worker;
