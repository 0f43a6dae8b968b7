-- Whether an answer can be stored here, found out by reading. Returns one row: read_only, the
-- database's encoding, the privileges that are missing, and whether a statement of this user has
-- waited for a lock for over 0.1 s.
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean,
       getdatabaseencoding(),
       ARRAY(
           SELECT needed.privilege || ' ON ' || needed.relation
           FROM (VALUES
               ('trading.symbols', 'SELECT'),
               ('trading.symbols', 'UPDATE'),
               ('market_data.ohlcv_5m', 'INSERT'),
               ('market_data.ohlcv_5m', 'UPDATE'),
               ('data_sources.api_providers', 'UPDATE'),
               ('data_sources.data_sync_status', 'INSERT'),
               ('data_sources.data_sync_status', 'UPDATE'),
               ('data_sources.api_calls', 'INSERT')
           ) AS needed (relation, privilege)
           WHERE NOT has_any_column_privilege(needed.relation, needed.privilege)
       ),
       EXISTS (
           SELECT FROM pg_stat_activity
           WHERE usename = current_user AND datname = current_database()
             AND wait_event_type = 'Lock' AND query_start < clock_timestamp() - interval '100 milliseconds'
       );
