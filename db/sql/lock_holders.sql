-- Other sessions whose transaction may hold rows or tables that a worker writes. Reading alone
-- (AccessShareLock) holds up no write.
SELECT l.pid, l.virtualtransaction, a.usename, a.application_name,
       array_agg(DISTINCT l.relation::regclass::text ORDER BY l.relation::regclass::text)
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.granted AND l.mode <> 'AccessShareLock' AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation IN (SELECT to_regclass(name) FROM unnest(%(relations)s::text[]) AS name)
GROUP BY l.pid, l.virtualtransaction, a.usename, a.application_name
ORDER BY l.pid;
