-- Whether an answer can be stored here, found out by reading. Returns one row: read_only, the
-- database's encoding, the privileges without which no answer can be stored, those that something
-- else needs, and whether a statement of this user has waited for a lock for over 0.1 s. The
-- privileges are those of grants.sql; with a column, the one for that column counts.
WITH needed (relation, privilege, columns, stores) AS (
    VALUES
        ('trading.symbols', 'SELECT', NULL, true),
        ('trading.symbols', 'UPDATE', 'metadata', true),
        ('trading.symbols', 'UPDATE', 'updated_at', true),
        ('trading.symbols', 'UPDATE', 'is_active', false),
        ('trading.latest_prices', 'SELECT', NULL, false),
        ('market_data.ohlcv_5m', 'SELECT, INSERT, UPDATE', NULL, true),
        ('market_data.ohlcv_1d', 'SELECT, INSERT, UPDATE', NULL, true),
        ('market_data.coverage_days', 'SELECT, INSERT, UPDATE', NULL, true),
        ('market_data.coverage', 'SELECT', NULL, false),
        ('data_sources.api_providers', 'SELECT', NULL, true),
        ('data_sources.api_providers', 'UPDATE', 'last_active_at', true),
        ('data_sources.data_sync_status', 'SELECT, INSERT, UPDATE', NULL, true),
        ('data_sources.api_calls', 'SELECT, INSERT', NULL, true),
        ('data_sources.api_calls', 'DELETE', NULL, false),
        ('assetq.migrations', 'SELECT', NULL, true),
        ('assetq.hours', 'SELECT, INSERT, UPDATE, DELETE', NULL, false)
), missing AS (
    SELECT stores, privilege || coalesce(' (' || columns || ')', '') || ' ON ' || relation AS lacked
    FROM (
        SELECT relation, unnest(string_to_array(privilege, ', ')) AS privilege, columns, stores
        FROM needed
        WHERE to_regclass(relation) IS NOT NULL
    ) AS each_one
    WHERE NOT CASE
        WHEN columns IS NOT NULL THEN has_column_privilege(relation, columns, privilege)
        WHEN privilege = 'DELETE' THEN has_table_privilege(relation, privilege)
        ELSE has_any_column_privilege(relation, privilege)
    END
)
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean,
       getdatabaseencoding(),
       ARRAY(SELECT lacked FROM missing WHERE stores),
       ARRAY(SELECT lacked FROM missing WHERE NOT stores),
       EXISTS (
           SELECT FROM pg_stat_activity
           WHERE usename = current_user AND datname = current_database()
             AND wait_event_type = 'Lock' AND query_start < clock_timestamp() - interval '100 milliseconds'
       );
