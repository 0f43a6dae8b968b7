"""GET /health: each cause of trouble, since when, and what to run."""

from typing import Any

from flask import Response
from redis import RedisError

from health.facts import State
from health.next_call import notes
from health.report import servers
from health.rules import judge
from runtime.context import Context
from runtime.heartbeat import ALIVE_MS
from web.action_log import recent
from web.site import render, site

_LINKS = {
    "last-batch": ("./#batches", "the last batches"),
    "failing": ("freshness?state=failing", "the failing assets"),
    "poison": ("freshness?state=dead", "the dead letters"),
    "blocked": ("./#window", "the window"),
    "breaker": ("./#window", "the window"),
    "hold": ("./#window", "the window"),
    "queue.size": ("./#queue", "the queue"),
    "api.rate_limit_waits": ("./#queue", "the queue"),
    "batch.priority.success_rate": ("./#batches", "the last batches"),
    "batch.priority.latency_ms": ("./#batches", "the last batches"),
}
"""Cause → where on the pages its details are. Those of servers have none."""


def _queued(context: Context, state: State | None) -> set[str]:
    """The dead letters that were asked for again and wait."""
    symbols = [letter.symbol for letter in state.dead] if state else []
    try:
        flags: Any = context.redis.smismember(context.keys.pending, symbols) if symbols else []
    except RedisError:
        return set()
    return {symbol for symbol, flag in zip(symbols, flags, strict=True) if flag}


def show() -> Response:
    """Answer with the page."""
    here = site()
    facts = here.observer.look()
    causes = judge(facts)
    return render(
        "health.html",
        "Health",
        facts,
        state=facts.state,
        since=here.observer.since(causes, facts),
        links=_LINKS,
        servers=servers(facts),
        notes=list(notes(facts.state)) if facts.state else [],
        alive_ms=ALIVE_MS,
        queued_again=_queued(here.observer.context, facts.state),
        entries=recent(here.observer.context),
    )
