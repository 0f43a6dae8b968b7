SELECT to_regnamespace(%(name)s) IS NOT NULL;
