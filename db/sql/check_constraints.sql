SELECT con.conname::text, pg_get_expr(con.conbin, con.conrelid),
       ARRAY(SELECT a.attname::text FROM pg_attribute AS a
             WHERE a.attrelid = con.conrelid AND a.attnum = ANY(con.conkey)) AS columns
FROM pg_constraint AS con
WHERE con.contype = 'c' AND con.conrelid = to_regclass(%(relation)s)
ORDER BY con.conname;
