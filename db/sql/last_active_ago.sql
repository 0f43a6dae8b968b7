SELECT clock_timestamp() - last_active_at FROM data_sources.api_providers WHERE code = %(code)s;
