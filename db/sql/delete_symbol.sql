-- An asset with everything that assetq stored of it. Its row is locked before, in a statement of
-- its own, so that no writer adds a bar that this one cannot see.
WITH gone AS (
    DELETE FROM trading.symbols WHERE symbol = %(symbol)s RETURNING id
), bars AS (
    DELETE FROM market_data.ohlcv_5m WHERE symbol_id IN (SELECT id FROM gone) RETURNING 1
), days AS (
    DELETE FROM market_data.ohlcv_1d WHERE symbol_id IN (SELECT id FROM gone)
), coverage AS (
    DELETE FROM market_data.coverage_days WHERE symbol_id IN (SELECT id FROM gone)
), status AS (
    DELETE FROM data_sources.data_sync_status WHERE ticker_id IN (SELECT id FROM gone)
)
SELECT count(*)::integer FROM bars;
