"""Batches and rounds of one site: beginning one, and what was stored and is queued."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.kit.worker import CRITICAL, Site
from worker.batch import begin
from worker.secondary import Round, enqueue_secondary

OPEN = Callable[..., Site]
HOUR_MS = 3_600_000
NAMES = [a.symbol for a in CRITICAL]


def start_batch(site: Site, **options: Any) -> str:
    return begin(site.context, site.connection, site.capabilities, **options)


def round_(site: Site) -> Round:
    return enqueue_secondary(site.context, site.connection, site.capabilities)


def order(site: Site) -> list[str]:
    """What the queue holds, in the order of calls."""
    return [item.symbol for item in site.context.queue.peek(100)]


def at(site: Site, when: datetime) -> None:
    """The site's clock (not Redis' own) shows this time."""
    site.context.shift(int(when.timestamp() * 1000) - site.context.redis_now_ms())


def set_stored(site: Site, symbol: str, seen: datetime, source: str = "snapshot") -> None:
    """As if refreshed then."""
    site.connection.execute(
        b"""UPDATE trading.symbols SET metadata = jsonb_build_object('last_update',
            jsonb_build_object('last_price', 1.5, 'as_of', %s::text, 'timestamp', %s::text,
            'source', %s::text, 'delay', 'real_time', 'observed_at_ms', %s::bigint))
            WHERE symbol = %s""",
        (
            *[seen.isoformat(timespec="microseconds")] * 2,
            source,
            int(seen.timestamp() * 1000),
            symbol,
        ),
    )
