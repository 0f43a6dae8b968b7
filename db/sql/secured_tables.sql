-- Tables in which row-level security may hide rows from this user, or refuse them.
SELECT relation FROM unnest(%(relations)s::text[]) AS relation
WHERE to_regclass(relation) IS NOT NULL AND row_security_active(to_regclass(relation));
