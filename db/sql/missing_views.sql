-- Views of assetq that are gone: changing a column's type demands that they are dropped first.
SELECT view FROM unnest(%(views)s::text[]) AS view WHERE to_regclass(view) IS NULL;
