"""`assetq limiter`: the calls of the window, and what else holds calls back."""

from __future__ import annotations

from typing import Any

import click

from cli.options import as_json
from cli.session import confirm, load_settings, open_context
from cli.show.output import iso, print_facts, print_json
from cli.show.waits import band_name, call_wait
from health.texts import clock
from queueing import QuotaStatus

_LONGEST_S = 24 * 3600


@click.group()
def limiter() -> None:
    """The calls of this window, and what holds calls back."""


@limiter.command()
@as_json
def status(json_: bool) -> None:
    """Each place of the window and until when it is taken, by whom; holds, blocks, counters."""
    with open_context() as context:
        now = context.limiter.status()
        raw: Any = context.redis.hgetall(context.keys.counters)
    counters = {str(name): int(value) for name, value in sorted(raw.items())}
    window_s = context.settings.rate_window_seconds
    if json_:
        print_json(_document(now, counters, window_s))
        return
    limit = "no limit" if now.limit is None else f"{now.free} of {now.limit} in {window_s:g} s"
    facts: list[tuple[str, object]] = [("calls free", limit)]
    facts += [
        (f"  permit {number}", f"until {clock(permit.until_ms, now.now_ms)}, {permit.who}")
        for number, permit in enumerate(now.permits, 1)
    ]
    if (more := now.in_use - len(now.permits)) > 0:
        facts.append(("  permits", f"{more} more, which end later"))
    for name, urgent in (("critical", True), ("background", False)):
        wait = call_wait(now, urgent=urgent)
        facts.append((f"next {name} call", "now" if wait.over else wait.text()))
    facts += _holds(now)
    facts += [("urgent waits", f"{now.waits_last_hour} in the last hour (over 1 s)")]
    print_facts([*facts, *_counted(counters)])


def _holds(now: QuotaStatus) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = []
    if now.batch_calls and now.batch_at_ms:
        at = clock(now.batch_at_ms, now.now_ms)
        facts.append(("kept for the batch", f"{now.batch_calls} calls at {at}"))
    if now.blocked_until_ms > now.now_ms:
        until = clock(now.blocked_until_ms, now.now_ms)
        facts.append(("BLOCKED", f"until {until}: {now.blocked_reason or 'no reason given'}"))
    facts += _breaker(now)
    if now.hold_until_ms > now.now_ms:
        until = clock(now.hold_until_ms, now.now_ms)
        facts.append(("HELD", f"until {until}: Redis lost count of earlier calls"))
    if not now.epoch_known:
        facts.append(
            ("window", "unknown (new or restarted Redis): the next claim checks, or holds")
        )
    return facts


def _breaker(now: QuotaStatus) -> list[tuple[str, object]]:
    breaker = now.breaker
    if not breaker.open:
        return [("failures in a row", breaker.failures)] if breaker.failures else []
    since, probe = clock(breaker.since_ms, now.now_ms), clock(breaker.probe_at_ms, now.now_ms)
    following = f"a probe runs, until {probe} at most" if breaker.probing else f"a probe at {probe}"
    text = f"since {since}, {breaker.failures} failures in a row; {following}"
    return [("PROVIDER FAILS", f"{text}: {breaker.reason or 'no reason given'}")]


def _counted(counters: dict[str, int]) -> list[tuple[str, object]]:
    """Since the counters began."""

    def group(prefix: str) -> str:
        parts = []
        for name, value in counters.items():
            if name.startswith(prefix):
                label = name.removeprefix(prefix)
                label = band_name(int(label)) if label in ("1", "2", "3", "4") else label
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


def _document(now: QuotaStatus, counters: dict[str, int], window_s: float) -> dict[str, Any]:
    def following(pair: tuple[int, str]) -> dict[str, Any]:
        at_ms, reason = pair
        return {"at": iso(max(at_ms, now.now_ms)), "reason": reason}

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
        "breaker": {
            "open": now.breaker.open,
            "failures": now.breaker.failures,
            "since": iso(now.breaker.since_ms),
            "probe_at": iso(now.breaker.probe_at_ms),
            "probing": now.breaker.probing,
            "reason": now.breaker.reason,
        },
        "next_critical": following(now.urgent),
        "next_background": following(now.background),
        "waits_last_hour": now.waits_last_hour,
        "idle_slot_seconds": counters.get("idle_ms", 0) / 1000,
        "counters": counters,
    }


@limiter.command()
@click.argument("count", type=click.IntRange(1, 10_000), metavar="N")
def consume(count: int) -> None:
    """Count N calls that you made elsewhere just now with the same API key."""
    with open_context() as context:
        taken = context.limiter.consume(count, who="by-hand")
        limit = context.settings.rate_limit
    click.echo(
        f"{taken} of {limit} permits are in use" if limit else "counted; the plan has no limit"
    )


@limiter.command()
@click.argument("seconds", type=click.FloatRange(0, _LONGEST_S))
@click.option("--reason", default="blocked by hand", show_default=True)
def block(seconds: float, reason: str) -> None:
    """Nobody calls the provider for SECONDS (at most a day); 0 lifts a block.

    A longer block that stands already stays.
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

    Only right if you know that nobody called the provider within the last window: otherwise it
    counts more calls than it allows.
    """
    settings = load_settings()
    confirm(
        f"Did nobody call the provider within the last {settings.rate_window_seconds:g} s?", yes=yes
    )
    with open_context(settings) as context:
        taken = context.limiter.reset()
        context.queue.wake()
    click.echo(f"forgot {taken} calls; all permits are free")
