"""`assetq rebuild`: asks again, from PostgreSQL, for what a lost Redis was to refresh."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import click

from cli.commands.enqueue import start_work
from cli.exits import CommandError, ExitCode
from cli.options import as_json
from cli.session import load_settings, open_context, open_database
from cli.show.causes import Wait, look
from cli.show.output import print_facts, print_json
from db.connection import Connection
from db.symbols import SymbolRepository
from queueing import Outcome, Priority
from runtime.context import Context
from scheduler.entries import schedule
from worker.capabilities import Capabilities
from worker.critical import critical_symbols
from worker.secondary import Round, enqueue_secondary
from worker.selection import is_due, utc_from_ms
from worker.work import price_request, usable

LOST = "the stream of events, dead letters, counts of attempts, records of batches, counters"
"""What PostgreSQL does not hold."""


@dataclass(frozen=True)
class Rebuilt:
    """What one run found: stale critical assets in their order, and the round of the others."""

    critical: tuple[str, ...]
    critical_new: int
    critical_current: int
    round: Round

    def as_dict(self) -> dict[str, Any]:
        """With stable keys, for --json."""
        return {
            "critical": list(self.critical),
            "enqueued": self.critical_new + self.round.enqueued,
            "pending_before": self.round.pending + len(self.critical) - self.critical_new,
            "current": self.round.current + self.critical_current,
            "refused": list(self.round.refused),
            "dead": list(self.round.dead),
        }


@click.command()
@as_json
def rebuild(json_: bool) -> None:
    """Restore Redis from PostgreSQL after Redis was lost.

    Asks for the stale critical assets in their order, then for all other stale ones, the stalest
    first. What is pending already stays as it is: safe to call again, also while workers run.
    Calls wait as long as the quota says. Exit code 5 if not all assets fit into the queue.
    """
    settings = load_settings()
    with open_database(settings) as connection, open_context(settings) as context:
        done = restore(context, connection)
        context.queue.wake()  # a drain may wait in a queue that was lost under it
        start_work(context)
        most, pending = context.queue.max_size, context.queue.size
        wait = Wait.of_call(look(context), urgent=True)
        following = {row["id"]: row["next_run"] for row in schedule(context)}
    found = done.as_dict()
    if json_:
        more = {"total_items": pending, "schedule": following, "next_call": wait.as_dict()}
        print_json({**found, **more, "not_restored": LOST})
    else:
        missing = [entry for entry, at in following.items() if at is None]
        print_facts(
            [
                ("critical", f"{_names(done.critical)} stale, {done.critical_new} newly asked"),
                ("others", f"{done.round.enqueued} newly asked, the stalest first"),
                ("pending before", found["pending_before"]),
                ("fresh enough", found["current"]),
                ("did not fit", len(done.round.refused) or None),
                ("dead, resting", _names(done.round.dead) if done.round.dead else None),
                ("queue now", f"{pending} items"),
                ("schedule", _schedule(missing, list(following))),
                ("next call", f"waits {wait.text()}"),
                ("not restored", LOST),
            ]
        )
    if done.round.refused:
        raise CommandError(
            f"{len(done.round.refused)} assets did not fit into the queue (QUEUE_MAX_SIZE is "
            f"{most}): the secondary rounds ask for them, or call this again.",
            ExitCode.REFUSED,
        )


def restore(context: Context, connection: Connection) -> Rebuilt:
    """Enqueue what is stale. Raises RedisError, DatabaseError; after a crash in between the next
    run asks for the rest."""
    settings, capabilities = context.settings, Capabilities(context)
    known = {asset.symbol: asset for asset in SymbolRepository(connection).list()}
    wanted = critical_symbols(settings, known.values())
    urgent = usable(known[symbol] for symbol in wanted if symbol in known)
    now = utc_from_ms(context.redis_now_ms())
    every = timedelta(minutes=settings.batch_interval_minutes)
    stale = [asset for asset in urgent if is_due(asset, capabilities.price_feed(), now, every)]
    asked = context.queue.enqueue(map(price_request, stale), Priority.CRITICAL)
    return Rebuilt(
        critical=tuple(asset.symbol for asset in stale),
        critical_new=len(asked.symbols(Outcome.ENQUEUED)),
        critical_current=len(urgent) - len(stale),
        round=enqueue_secondary(context, connection, capabilities),
    )


def _schedule(missing: list[str], entries: list[str]) -> str:
    if not missing:
        return f"stands: {', '.join(entries)}"
    return f"{', '.join(missing)} missing; start a scheduler: assetq scheduler"


def _names(symbols: tuple[str, ...]) -> str:
    more = f" and {len(symbols) - 20} more" if len(symbols) > 20 else ""
    return (", ".join(symbols[:20]) or "none") + more
