-- Unique constraints that are checked late, which ON CONFLICT refuses, with their columns in order.
SELECT n.nspname || '.' || c.relname AS relation,
       k.conname::text AS name,
       ARRAY(SELECT a.attname::text FROM pg_attribute AS a
             WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
             ORDER BY a.attname) AS columns
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype IN ('p', 'u') AND k.condeferrable
  AND n.nspname || '.' || c.relname = ANY(%(relations)s)
ORDER BY relation, name;
