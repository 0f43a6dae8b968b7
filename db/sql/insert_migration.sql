INSERT INTO assetq.migrations (name) VALUES (%(name)s);
