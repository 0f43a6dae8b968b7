"""Redis: what an external writer left in our keys, which every reader leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli.commands.doctor.finding import Finding, warn
from health.texts import names, one_line
from queueing.foreign import figures
from runtime.context import Context

_RECORDS = 300


def contents(context: Context) -> Iterator[Finding]:
    """One warning for each key with entries that cannot be read; it names them."""
    for key, entries in _spoilt(context):
        if entries:
            shown = names([one_line(entry)[:64] or "''" for entry in sorted(entries)])
            yield warn(
                "redis keys",
                f"{key}: {len(entries)} of its entries something else wrote, and are left out: "
                f"{shown}",
                "Find what else writes to this Redis. assetq goes on without them.",
            )


def _spoilt(context: Context) -> Iterator[tuple[str, set[str]]]:
    """Key → the fields or members that no script of ours wrote so."""
    keys, redis = context.keys, context.redis
    for key in (keys.counters, keys.timings, keys.causes):
        fields: Any = redis.hgetall(key)
        yield key, set(fields) - figures(fields).keys()
    slots: Any = redis.zrevrange(keys.batches, 0, _RECORDS - 1)
    yield keys.batch_records, set(slots) - {r.slot for r in context.queue.batches(_RECORDS)}
    dead: Any = redis.zrange(keys.dead, 0, -1)
    yield keys.dead_items, set(dead) - {letter.symbol for letter in context.queue.dead()}
