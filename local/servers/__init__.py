"""Servers and processes that `assetq up` runs here. Nothing else knows who supplied a binary."""
