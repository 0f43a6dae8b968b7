"""Who is alive, by assetq's own books."""

from __future__ import annotations

from worker import alive
from worker.context import Context

ALIVE_MS = 90_000
"""Idle processes say that they live every 10 s, a worker at work every 30 s."""


def living(context: Context, role: str) -> list[alive.Process]:
    """The processes of one role (worker, scheduler) that were seen a short time ago."""
    seen = alive.processes(context.redis, context.keys)
    return [process for process in seen if process.role == role and process.age_ms <= ALIVE_MS]
