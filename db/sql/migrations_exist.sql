SELECT to_regclass('assetq.migrations') IS NOT NULL;
