"""One machine without servers: embedded Valkey and PostgreSQL, the sandbox, `assetq up`."""
