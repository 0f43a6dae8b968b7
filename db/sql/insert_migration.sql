INSERT INTO assetq.migrations (name) VALUES (%(name)s) ON CONFLICT (name) DO NOTHING;
