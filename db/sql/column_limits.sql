-- Columns of the shared tables whose type is narrower than what assetq writes.
SELECT n.nspname || '.' || c.relname AS relation,
       a.attname::text AS name,
       format_type(t.oid, a.atttypmod) AS type,
       CASE WHEN t.typname = 'numeric' AND a.atttypmod > 0 THEN (a.atttypmod - 4) >> 16 & 65535
       END AS precision,
       CASE WHEN t.typname = 'numeric' AND a.atttypmod > 0
            THEN ((((a.atttypmod - 4) & 2047) # 1024) - 1024) END AS scale,
       CASE WHEN t.typname IN ('varchar', 'bpchar') AND a.atttypmod > 0 THEN a.atttypmod - 4
       END AS length
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE n.nspname || '.' || c.relname = ANY(%(relations)s)
ORDER BY relation, a.attnum;
