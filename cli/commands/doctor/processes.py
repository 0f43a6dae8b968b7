"""Workers that were started the wrong way, and ticks that failed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from rq.exceptions import NoSuchJobError
from rq.registry import FailedJobRegistry
from rq.worker_registration import get_keys

from cli.commands.doctor.finding import Finding, fail, ok, warn
from runtime.context import Context
from runtime.heartbeat import known_names
from worker.rq_classes import TickJob
from worker.ticks import Ticks

WORKER_LINE = "assetq worker"
_LOOK_AT = 100
_DAY = timedelta(days=1)
_LATELY = timedelta(minutes=1)
_WRONG_START = (
    ("DeserializationError", "a worker was started without `-S json`"),
    ("ForeignJob", "another program puts jobs into assetq's queue"),
)
_DIED = ("AbandonedJobError", "Work-horse terminated unexpectedly")


def foreign_workers(context: Context) -> Iterator[Finding]:
    """RQ workers on assetq's queue that send no heartbeat of assetq's were started another way."""
    ticks = Ticks(context.redis, context.keys)
    try:
        rows = []
        for key in sorted(str(key) for key in get_keys(queue=ticks.queue)):
            row: Any = context.redis.hmget(key, "hostname", "pid", "last_heartbeat")
            rows.append((key.rpartition(":")[2], *row))
    finally:
        ticks.close()
    ours = {name.rpartition("-")[0] for name in known_names(context.redis, context.keys)}
    foreign = [
        f"{name} (pid {pid} on {host})"
        for name, host, pid, beat in rows
        if pid
        and f"worker@{str(host).split('.')[0]}-{pid}" not in ours
        and _may_live(str(host), int(pid), beat)
    ]
    if foreign:
        yield fail(
            "rq workers",
            f"not started as assetq needs it: {', '.join(foreign)}. Ticks fail in them",
            f"End them, and start: {WORKER_LINE}",
        )


def _may_live(host: str, pid: int, beat: str | None) -> bool:
    """RQ's registry keeps a killed worker for minutes. On this host the system knows better;
    elsewhere the last heartbeat tells, as far as it can."""
    if host.split(".")[0] == socket.gethostname().split(".")[0]:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    at = datetime.fromisoformat(beat) if beat else datetime.min.replace(tzinfo=UTC)
    return datetime.now(UTC) - at < timedelta(minutes=2)


def failed_ticks(context: Context) -> Iterator[Finding]:
    """Ticks that failed within a day, by cause; a wrong start fails if it was a short time ago."""
    ticks = Ticks(context.redis, context.keys)
    try:
        failures = list(_failures(ticks))
    finally:
        ticks.close()
    if not failures:
        yield ok("ticks", "none failed within a day")
    for cause in dict.fromkeys(cause for cause, _ in failures):
        ages = [age for other, age in failures if other == cause]
        text = f"{len(ages)} failed within a day: {cause}"
        if cause not in dict(_WRONG_START).values():
            yield warn("ticks", text, "See the worker's log.")
        else:
            judge = fail if min(ages) < _LATELY else warn
            yield judge("ticks", text, f"Start workers so: {WORKER_LINE}")


def _failures(ticks: Ticks) -> Iterator[tuple[str, timedelta]]:
    """Cause and age of each; the newest hundred at most."""
    registry = FailedJobRegistry(queue=ticks.queue)
    for job_id in registry.get_job_ids(cleanup=False, desc=True)[:_LOOK_AT]:
        try:
            job = TickJob.fetch(job_id, connection=ticks.queue.connection)
        except NoSuchJobError:  # expired meanwhile
            continue
        ended = job.ended_at or job.enqueued_at
        age = datetime.now(UTC) - _aware(ended) if ended else timedelta()
        if age < _DAY:
            result = job.latest_result()
            yield _cause((result.exc_string if result else None) or ""), age


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _cause(trace: str) -> str:
    """The last line of a traceback."""
    for mark, text in _WRONG_START:
        if mark in trace:
            return text
    if any(mark in trace for mark in _DIED):
        return "its worker died, by a signal or for lack of memory"
    lines = [line.strip() for line in trace.strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no reason was kept"
