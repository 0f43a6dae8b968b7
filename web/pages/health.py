"""GET /health: each cause of trouble, since when, and what to run."""

from flask import Response

from health.next_call import notes
from health.report import servers
from health.rules import judge
from runtime.heartbeat import ALIVE_MS
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
        seen_since=here.observer.seen_since(causes, facts.now_ms),
        links=_LINKS,
        servers=servers(facts),
        notes=list(notes(facts.state)) if facts.state else [],
        alive_ms=ALIVE_MS,
    )
