SELECT EXISTS (SELECT FROM data_sources.api_providers WHERE code = 'polygon');
