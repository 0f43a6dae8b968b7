-- Every column of the tables that assetq shares, as they are before a migration.
SELECT n.nspname || '.' || c.relname AS relation,
       c.relkind::text AS kind,
       a.attname::text AS name,
       CASE WHEN t.typtype = 'e' THEN 'enum'
            WHEN t.typtype = 'd' THEN format_type(t.typbasetype, NULL)
            ELSE format_type(a.atttypid, NULL) END AS type,
       a.attnotnull AS required,
       (a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '') AS filled_by_itself,
       a.attgenerated <> '' AS generated
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type AS t ON t.oid = a.atttypid
WHERE n.nspname || '.' || c.relname = ANY(%(relations)s)
ORDER BY relation, a.attnum;
