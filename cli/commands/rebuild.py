"""`assetq rebuild`: asks again, from PostgreSQL, for all that a lost Redis was to refresh."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from cli.show.output import as_json, print_facts, print_json

if TYPE_CHECKING:
    from db.connection import Connection
    from runtime.context import Context
    from worker.secondary import Round

LOST = (
    "the stream of events (`assetq:{massive}:updates`): consumers that were away read the prices "
    "in PostgreSQL instead",
    "dead letters, counts of attempts, batch records and counters",
)
"""What PostgreSQL does not hold."""
UNCOUNTED = (
    "waits for one window and the send budget, as Redis lost count of calls; not so if PostgreSQL "
    "proves that nobody called"
)
LEARNED = "what the API key's plan refuses: learned again, with one call for each refused feed"


@dataclass(frozen=True)
class Rebuilt:
    """What one run found and did."""

    critical: tuple[str, ...]
    """Critical assets that are stale, in their order, now in the queue."""
    critical_new: int
    critical_current: int
    round: Round
    malformed: int
    pending: int

    @property
    def enqueued(self) -> int:
        """Requests that were not there before."""
        return self.critical_new + self.round.enqueued


@click.command()
@as_json
def rebuild(json_: bool) -> None:
    """Restore Redis from PostgreSQL after Redis was lost.

    Asks for the stale critical assets in their order, then for all other stale ones, the stalest
    first. What is pending already stays as it is: safe to call again, also while workers run.
    Calls wait as long as the quota says. Exit code 5 if not all assets fit into the queue.
    """
    from cli.commands.enqueue import start_work
    from cli.session import load_settings, open_context, open_database
    from cli.show.errors import CommandError, ExitCode

    settings = load_settings()
    with open_database(settings) as connection, open_context(settings) as context:
        done = restore(context, connection)
        if done.pending:
            context.queue.wake()  # a drain may wait in a queue that was lost under it
            start_work(context)
        facts = _standing(context)
    if json_:
        print_json(_document(done, facts))
    else:
        _tell(done, facts)
    if done.round.refused:
        raise CommandError(
            f"{len(done.round.refused)} assets did not fit into the queue (QUEUE_MAX_SIZE is "
            f"{settings.queue_max_size}): the secondary rounds ask for them, or call this again.",
            ExitCode.REFUSED,
        )


def restore(context: Context, connection: Connection) -> Rebuilt:
    """Enqueues what is stale. Raises RedisError, DatabaseError; a crash in between loses nothing:
    the next run asks for the rest."""
    from db.symbols import SymbolRepository
    from queueing import Outcome, Priority
    from worker.plan import Plan
    from worker.secondary import enqueue_secondary
    from worker.selection import instant, is_due, price_request
    from worker.validation import flaw, sound

    settings, plan, repository = context.settings, Plan(context), SymbolRepository(connection)
    wanted = settings.priority_assets if settings.priority_assets_enabled else ()
    known = repository.get_many(list(wanted))
    urgent = sound(known[symbol] for symbol in wanted if symbol in known)
    now, feed = instant(context.redis_now_ms()), plan.feed()
    every = timedelta(minutes=settings.batch_interval_minutes)
    stale = [asset for asset in urgent if is_due(asset, feed, now, every)]
    asked = context.queue.enqueue(map(price_request, stale), Priority.CRITICAL)
    round_ = enqueue_secondary(context, connection, plan)
    everything = repository.list()
    return Rebuilt(
        critical=tuple(asset.symbol for asset in stale),
        critical_new=len(asked.symbols(Outcome.ENQUEUED)),
        critical_current=len(urgent) - len(stale),
        round=round_,
        malformed=sum(flaw(a.symbol, a.polygon_ticker) is not None for a in everything),
        pending=context.queue.size,
    )


def _standing(context: Context) -> dict[str, Any]:
    """What others restore: the schedule, and when calls are free."""
    from cli.show.waits import call_wait
    from runtime.heartbeat import living
    from scheduler.process import schedule

    status = context.limiter.status()
    wait = call_wait(status, urgent=True)
    return {
        "schedule": {row["id"]: row["next_run"] for row in schedule(context)},
        "schedulers": len(living(context.redis, context.keys, "scheduler")),
        "workers": len(living(context.redis, context.keys, "worker")),
        "calls_unknown": status.limit is not None and not status.epoch_known,
        "wait": wait,
    }


def _document(done: Rebuilt, facts: dict[str, Any]) -> dict[str, Any]:
    wait = facts.pop("wait")
    return {
        "enqueued": done.enqueued,
        "critical": list(done.critical),
        "pending_before": done.round.pending + len(done.critical) - done.critical_new,
        "current": done.round.current + done.critical_current,
        "refused": list(done.round.refused),
        "dead": list(done.round.dead),
        "malformed": done.malformed,
        "total_items": done.pending,
        **facts,
        "next_call": wait.as_dict(),
        "not_restored": list(LOST),
    }


def _tell(done: Rebuilt, facts: dict[str, Any]) -> None:
    missing = [entry for entry, at in facts["schedule"].items() if at is None]
    if not missing:
        schedule = f"stands: {', '.join(facts['schedule'])}"
    elif facts["schedulers"]:
        schedule = f"{', '.join(missing)} missing; the living scheduler restores it in a second"
    else:
        schedule = f"{', '.join(missing)} missing; start a scheduler: python -m scheduler"
    waited = done.round.pending + len(done.critical) - done.critical_new
    rows: list[tuple[str, object]] = [
        (
            "critical",
            f"{', '.join(done.critical) or 'none'} stale, {done.critical_new} newly asked",
        ),
        ("others", f"{done.round.enqueued} newly asked, the stalest first"),
        ("pending before", waited),
        ("fresh enough", done.round.current + done.critical_current),
        ("did not fit", len(done.round.refused) or None),
        ("dead, resting", ", ".join(done.round.dead[:20]) or None),
        ("malformed", f"{done.malformed}: `assetq doctor` names them" if done.malformed else None),
        ("queue now", f"{done.pending} items"),
        ("schedule", schedule),
        ("next call", UNCOUNTED if facts["calls_unknown"] else f"waits for {facts['wait'].text()}"),
        ("learned again", LEARNED),
        *(("not restored", text) for text in LOST),
    ]
    print_facts(rows)
