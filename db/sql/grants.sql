-- A role that may do what workers, scheduler and web need, and nothing else. Run it after each
-- `assetq migrate`, as an owner of the tables who may create roles (CREATEROLE, or a superuser; or
-- let one create it beforehand: CREATE ROLE assetq_worker NOLOGIN):
--
--     psql "$DATABASE_URL" -f grants.sql
--
-- then put the program's login into the role: GRANT assetq_worker TO the_login;
-- `assetq migrate` and `assetq symbols import` stay with the owner.

DO $assetq$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'assetq_worker') THEN
        CREATE ROLE assetq_worker NOLOGIN;
    END IF;
END
$assetq$;

GRANT USAGE ON SCHEMA trading, market_data, data_sources, assetq TO assetq_worker;

GRANT SELECT, UPDATE (metadata, updated_at) ON trading.symbols TO assetq_worker;
GRANT SELECT, INSERT, UPDATE ON market_data.ohlcv_5m, market_data.ohlcv_1d,
    market_data.coverage_days TO assetq_worker;
GRANT SELECT ON market_data.coverage, trading.latest_prices TO assetq_worker;
GRANT SELECT, UPDATE (last_active_at) ON data_sources.api_providers TO assetq_worker;
GRANT SELECT, INSERT, UPDATE ON data_sources.data_sync_status TO assetq_worker;
GRANT SELECT, INSERT, DELETE ON data_sources.api_calls TO assetq_worker;
GRANT SELECT ON assetq.migrations TO assetq_worker;

-- Only for tables of your own whose ids come from a sequence.
GRANT USAGE ON ALL SEQUENCES IN SCHEMA market_data, data_sources TO assetq_worker;
