"""When assets are refreshed next, and because of what: from the queue, else from the schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis import RedisError

from health.facts import Facts, State
from health.freshness import Freshness, FreshnessRow
from health.waits import band_name
from queueing.foreign import END_MS, figure, json_object
from runtime.context import Context
from worker.critical import is_critical


@dataclass(frozen=True)
class Upcoming:
    """The next refresh of one asset."""

    why: str
    at_ms: int | None = None
    """When it is expected, as far as is known."""


def upcoming(context: Context, facts: Facts, rows: Sequence[FreshnessRow]) -> dict[str, Upcoming]:
    """Return symbol → its next refresh, for the rows of one page: two round trips to Redis."""
    if facts.state is None or not rows:
        return {}
    try:
        pending = _pending(context, [row.symbol for row in rows])
    except RedisError:
        return {}
    return {row.symbol: _of(context, facts.state, row, pending.get(row.symbol)) for row in rows}


@dataclass(frozen=True)
class _Pending:
    state: str
    until_ms: int | None
    item: dict[str, Any]


def _pending(context: Context, symbols: Sequence[str]) -> dict[str, _Pending]:
    keys, pipe = context.keys, context.redis.pipeline(transaction=False)
    pipe.hmget(keys.items, list(symbols))
    pipe.hget(keys.quota, "clock_ahead")
    for symbol in symbols:
        pipe.zscore(keys.leases, symbol)
        pipe.zscore(keys.delayed, symbol)
    texts, ahead, *scores = pipe.execute()
    found = {}
    for symbol, text, leased, delayed in zip(
        symbols, texts, scores[::2], scores[1::2], strict=True
    ):
        if item := json_object(text):
            state = "leased" if leased else "delayed" if delayed else "queued"
            until = figure(leased or delayed)
            ahead_ms = figure(ahead, least=-END_MS) or 0
            found[symbol] = _Pending(state, until and until - ahead_ms, item)
    return found


def _of(context: Context, state: State, row: FreshnessRow, pending: _Pending | None) -> Upcoming:
    if pending:
        return _of_pending(pending)
    match row.state:
        case Freshness.PAUSED:
            return Upcoming("paused")
        case Freshness.DEAD:
            reason = next((x.reason for x in state.dead if x.symbol == row.symbol), "given up")
            return Upcoming(f"given up: {reason}")
        case Freshness.CLOSED:
            return Upcoming("when the market opens")
        case Freshness.PENDING:
            return Upcoming("when the newest day is published")
    settings = context.settings
    critical = is_critical(settings, row.symbol, row.band)
    kind, name = ("batch", "the batch") if critical else ("secondary", "the secondary round")
    return Upcoming(name, _next_run_ms(state, f"every-{kind}"))


def _of_pending(pending: _Pending) -> Upcoming:
    item = pending.item
    match pending.state:
        case "leased":
            return Upcoming("being refreshed now")
        case "delayed":
            error = item.get("last_error")
            return Upcoming(f"retry after {error}" if error else "delayed", pending.until_ms)
    return Upcoming(f"queued, {band_name(item.get('priority', 0)).lower()}")


def _next_run_ms(state: State, id_: str) -> int | None:
    at = next((job["next_run"] for job in state.jobs if job["id"] == id_), None)
    return int(datetime.fromisoformat(at).timestamp() * 1000) if at else None
