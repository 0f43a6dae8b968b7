SELECT migration_id FROM assetq._yoyo_migration;
