"""What RQ runs: ticks, the drain, one call and what becomes of it."""
