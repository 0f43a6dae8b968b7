-- Names of assetq's views that something else has.
SELECT relation FROM unnest(%(views)s::text[]) AS relation
WHERE to_regclass(relation) IS NOT NULL
  AND coalesce(obj_description(to_regclass(relation), 'pg_class'), '') NOT LIKE 'assetq:%%';
