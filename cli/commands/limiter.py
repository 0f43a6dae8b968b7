"""`assetq limiter`: the permits of the window, and what else holds calls back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from cli.options import NumberRange, WholeRange, as_json
from cli.session import confirm, load_settings, masked, open_context, open_database
from cli.show.causes import Wait, look, state_of, told
from cli.show.output import print_facts, print_json
from db.errors import DatabaseError
from db.providers import ProviderRepository
from health.facts import Facts
from health.rules import judge
from health.texts import clock, iso
from health.waits import band_name
from queueing import QuotaStatus
from settings import Settings

_LONGEST_S = 24 * 3600
_SHOWN_PERMITS = 20
_HOLDS = ("blocked", "breaker", "hold", "policy", "capacity", "share")


@click.group()
def limiter() -> None:
    """The quota: the permits of the window, and what holds calls back."""


@limiter.command()
@as_json
def status(json_: bool) -> None:
    """What the next calls wait for, the permits in use, and counters since Redis was new."""
    with open_context() as context:
        facts = look(context)
    state, window_s = state_of(facts), context.settings.rate_window_seconds
    counters = dict(sorted(state.counters.items()))
    urgent, other = (Wait.of_call(facts, urgent=urgent) for urgent in (True, False))
    pending = Wait.of_refresh(facts)
    if json_:
        print_json(_document(state.quota, counters, window_s, urgent, other, pending))
        return
    now = state.quota
    limit = "no limit" if now.limit is None else f"{now.free} of {now.limit} in {window_s:g} s"
    print_facts(
        [
            ("calls free", limit),
            *_permits(now),
            ("next critical call", f"waits {urgent.text()}" if urgent.cause else "now"),
            ("next other call", f"waits {other.text()}" if other.cause else "now"),
            ("next refresh", f"waits {pending.text()}"),
            ("to do", urgent.cause and urgent.cause.remedy),
            *_holds(facts, now),
            ("urgent waits", f"{now.waits_last_hour} in the last hour (over 1 s)"),
            *_counted(counters),
        ]
    )


def _permits(now: QuotaStatus) -> list[tuple[str, object]]:
    """The permits in use that end first; one line for those of one caller that end together."""
    ends = Counter((clock(permit.until_ms, now.now_ms), permit.who) for permit in now.permits)
    lines: list[tuple[str, object]] = [
        (f"  {count} {'permit' if count == 1 else 'permits'}", f"until {end}, {who}")
        for (end, who), count in list(ends.items())[:_SHOWN_PERMITS]
    ]
    shown = sum(list(ends.values())[:_SHOWN_PERMITS])
    if (more := now.in_use - shown) > 0:
        lines.append((f"  {more} more", "which end later"))
    return lines


def _holds(facts: Facts, now: QuotaStatus) -> list[tuple[str, object]]:
    """What holds calls back, whether or not it is what the next one waits for."""
    rows: list[tuple[str, object]] = []
    if now.batch_calls and now.batch_at_ms:
        at = clock(now.batch_at_ms, now.now_ms)
        calls = "call" if now.batch_calls == 1 else "calls"
        rows.append(("kept for the batch", f"{now.batch_calls} {calls} at {at}"))
    rows += [(cause.key, told(cause, facts)) for cause in judge(facts) if cause.key in _HOLDS]
    if now.breaker.failures:
        rows.append(("failures in a row", now.breaker.failures))
    if not now.epoch_known:
        rows.append(("window", "unknown (Redis is new, or was restarted): the next claim checks"))
    return rows


def _counted(counters: dict[str, int]) -> list[tuple[str, object]]:
    """Since the counters began."""

    def group(prefix: str) -> str:
        parts = []
        for name, value in counters.items():
            if name.startswith(prefix):
                label = name.removeprefix(prefix)
                label = band_name(int(label)) if label.isdecimal() else label
                parts.append(f"{value} {label.lower()}")
        return ", ".join(parts) or "none"

    return [
        ("calls granted", group("granted:")),
        ("waits by reason", group("waits:")),
        ("blocks", counters.get("blocks", 0)),
        ("holds", counters.get("holds", 0)),
        ("counted elsewhere", counters.get("consumed", 0)),
        ("idle slot-seconds", f"{counters.get('idle_ms', 0) / 1000:g}"),
        ("lost calls", f"{counters.get('lost_calls', 0)} (their workers died or were stuck)"),
    ]


def _document(
    now: QuotaStatus,
    counters: dict[str, int],
    window_s: float,
    urgent: Wait,
    other: Wait,
    pending: Wait,
) -> dict[str, Any]:
    """The status with stable keys, for --json."""
    blocked = now.blocked_until_ms > now.now_ms
    return {
        "limit": now.limit,
        "free": now.free,
        "window_seconds": window_s,
        "now": iso(now.now_ms),
        "permits_in_use": now.in_use,
        "permits": [
            {"call_id": p.call_id, "by": p.who, "until": iso(p.until_ms)} for p in now.permits
        ],
        "reserved": {"calls": now.batch_calls, "batch_at": iso(now.batch_at_ms)},
        "blocked_until": iso(now.blocked_until_ms) if blocked else None,
        "blocked_reason": now.blocked_reason if blocked else None,
        "held_until": iso(now.hold_until_ms) if now.hold_until_ms > now.now_ms else None,
        "epoch_known": now.epoch_known,
        "breaker": _breaker(now),
        "next_critical": _next_call(now.urgent, now, urgent),
        "next_background": _next_call(now.background, now, other),
        "next_refresh": pending.as_dict(),
        "waits_last_hour": now.waits_last_hour,
        "idle_slot_seconds": counters.get("idle_ms", 0) / 1000,
        "counters": counters,
    }


def _next_call(allowed: tuple[int, str], now: QuotaStatus, wait: Wait) -> dict[str, Any]:
    at_ms, reason = allowed
    return {"at": iso(max(at_ms, now.now_ms)), "reason": reason, **wait.as_dict()}


def _breaker(now: QuotaStatus) -> dict[str, Any]:
    return {
        "open": now.breaker.open,
        "failures": now.breaker.failures,
        "since": iso(now.breaker.since_ms),
        "probe_at": iso(now.breaker.probe_at_ms),
        "probing": now.breaker.probing,
        "reason": now.breaker.reason,
    }


@limiter.command()
@click.argument("count", type=WholeRange(1, 10_000), metavar="N")
def consume(count: int) -> None:
    """Count N calls that you made elsewhere just now with the same API key."""
    with open_context() as context:
        _note_call(context.settings)
        taken = context.limiter.consume(count, who="by-hand")
        limit = context.settings.rate_limit
    if limit is None:
        click.echo("counted; the plan has no limit")
        return
    more = f", {taken - limit} more are counted" if taken > limit else ""
    click.echo(f"{min(taken, limit)} of {limit} permits are in use{more}")


def _note_call(settings: Settings) -> None:
    """Let PostgreSQL know too: it is asked where Redis has lost what it counted."""
    try:
        with open_database(settings) as connection:
            ProviderRepository(connection).note_call()
    except DatabaseError as error:
        forgotten_s = settings.rate_window_seconds + settings.send_budget_ms / 1000
        told = (
            f"assetq: counted in Redis alone, as PostgreSQL was not told ({error.message}): should "
            f"Redis lose its data within {forgotten_s:g} s, these calls may be forgotten."
        )
        click.echo(masked(" ".join(told.split())), err=True)


@limiter.command()
@click.argument("seconds", type=NumberRange(0, _LONGEST_S))
@click.option("--reason", default="blocked by hand", show_default=True)
def block(seconds: float, reason: str) -> None:
    """Make no call to the provider for SECONDS (at most a day); 0 lifts a block.

    A longer block stays.
    """
    with open_context() as context:
        until_ms = context.limiter.block(int(seconds * 1000), reason[:200], force=seconds == 0)
        now_ms = context.redis_now_ms()
        context.queue.wake()
    blocked = until_ms > now_ms
    click.echo(f"blocked until {clock(until_ms, now_ms)}" if blocked else "not blocked")


@limiter.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Forget every counted call, block, hold and failure.

    Only right if you know that no call was made within the last window: otherwise the provider
    counts more calls than it allows.
    """
    settings = load_settings()
    confirm(f"Was no call made to the provider within {settings.rate_window_seconds:g} s?", yes=yes)
    with open_context(settings) as context:
        taken = context.limiter.reset()
        context.queue.wake()
    click.echo(f"forgot {taken} calls; all permits are free")
