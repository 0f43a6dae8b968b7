"""data_sources.data_sync_status: how the newest refresh of each symbol went."""

from __future__ import annotations

from collections.abc import Sequence

from db.connection import Connection
from db.queries import sql
from db.rows import storable_text


def upsert_status(
    connection: Connection,
    provider: str,
    observed_at_ms: int,
    errors: Sequence[tuple[str, str | None]],
) -> None:
    """Write (symbol, error) as the sync status, inside the caller's transaction; None: success."""
    connection.execute(
        sql("upsert_sync_status"),
        {
            "observed_at_ms": observed_at_ms,
            "provider": provider,
            "symbol": [symbol for symbol, _ in errors],
            "error": [storable_text(error) for _, error in errors],
        },
    )
