SELECT last_active_at FROM data_sources.api_providers WHERE code = %(code)s FOR NO KEY UPDATE;
