"""The market data provider: HTTP client, its answers as models, feeds, hours, and a sandbox."""
