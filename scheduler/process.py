"""The scheduler: rq-scheduler's entries and lock, with slots, recovery and a pass per second.

Any number of these may run; a lock with an owner lets one pass at a time. Everything it does is
decided from what it finds in Redis, so that a crash between any two commands is mended by the next
pass: an entry that is missing is restored, a slot whose tick got lost is pushed again, a wake-up
that fell between is made up for.
"""

import contextlib
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import structlog
from redis.exceptions import LockError, RedisError
from rq.job import Job
from rq_scheduler.scheduler import Scheduler

from queueing import Keys
from runtime import heartbeat
from runtime.context import Context, process_name
from runtime.failpoints import Point, reached
from runtime.redis_client import away
from runtime.stopping import StopFlag
from scheduler.entries import Entry, entries
from worker.resilience import hurry
from worker.ticks import BATCH, JOB_TIMEOUT_S, Ticks

log = structlog.get_logger(__name__)

INTERVAL_S = 1
LOCK_S = 3
"""How long the lock of a scheduler that died holds up the others: leases wait for a pass."""
LONGEST_PAUSE_S = 5.0
"""Between two attempts while Redis is away: no batch starts later than this because of it."""
LOST_TICK_MS = 10_000
"""A slot without its record this long after its tick was pushed is pushed again."""
OVERDUE_PASSES = 2
"""A drain that waits should have taken what has been due for so many passes: it died."""


class TickScheduler(Scheduler):
    """rq-scheduler under names of our own, so that other users of the same Redis are left alone."""

    def __init__(self, context: Context, ticks: Ticks) -> None:
        prefix = context.keys.named("scheduler")
        self.redis_scheduler_namespace_prefix = f"{prefix}:instance:"
        self.scheduler_key = prefix
        self.scheduler_lock_key = f"{prefix}:lock"
        self.scheduled_jobs_key = entries_key(context.keys)
        super().__init__(
            queue_name=ticks.queue.name,
            queue=ticks.queue,
            connection=ticks.queue.connection,
            interval=INTERVAL_S,
            job_class=ticks.queue.job_class,
            name=process_name("scheduler"),
        )
        self._context = context
        self._ticks = ticks
        self._entries = {entry.id: entry for entry in entries(context.settings)}
        self._lock = self.connection.lock(self.scheduler_lock_key, timeout=LOCK_S, blocking=False)
        self._pushed: dict[str, tuple[int, int]] = {}
        self._overdue = 0
        self._stop = StopFlag()

    # --- rq-scheduler's own verbs, on Redis' clock and with an owner

    def acquire_lock(self) -> bool:
        """True if this scheduler passes now."""
        self._lock_acquired = bool(self._lock.acquire())
        return self._lock_acquired

    def remove_lock(self) -> None:
        """Frees the lock if it is still this scheduler's."""
        if self._lock_acquired:
            self._lock_acquired = False
            with contextlib.suppress(LockError):  # it ran out: somebody else may have it
                self._lock.release()

    def get_jobs_to_queue(self, with_times: bool = False) -> Iterator[Job]:
        """The entries whose slot has come."""
        due = self.get_jobs(self._context.redis_now_ms() / 1000, with_times=with_times)
        return iter(list(due))

    def enqueue_job(self, job: Job) -> None:
        """Pushes the tick of an entry and sets the entry to its next slot."""
        entry = self._entries.get(job.id)
        if entry is None:  # of an older version, or switched off
            self.cancel(job)
            job.delete()
            return
        now_ms = self._context.redis_now_ms()
        self._push(entry, now_ms)
        reached(Point.PUSHED)
        self.connection.zadd(self.scheduled_jobs_key, {entry.id: entry.next_slot(now_ms)})
        reached(Point.REARMED)

    # --- one pass

    def run_once(self) -> None:
        """Everything that is due now. Raises RedisError."""
        self.restore_entries()
        self.enqueue_jobs()
        now_ms = self._context.redis_now_ms()
        for entry in self._entries.values():
            if not self._done(entry, now_ms):
                self._push(entry, now_ms)
        self._drain_if_due()

    def restore_entries(self) -> None:
        """Puts missing entries back, and takes those away that are not wanted any more."""
        now_ms = self._context.redis_now_ms()
        standing = {
            raw.decode(): score
            for raw, score in self.connection.zrange(
                self.scheduled_jobs_key, 0, -1, withscores=True
            )
        }
        for entry in self._entries.values():
            at = standing.get(entry.id)
            same = at is not None and at <= entry.next_slot(now_ms) and at % entry.interval_s == 0
            if not same or not Job.exists(entry.id, self.connection):
                self._restore(entry, now_ms)
        if not self._context.settings.priority_assets_enabled:
            self._context.limiter.plan_batch(0, 0, 0)

    def _restore(self, entry: Entry, now_ms: int) -> None:
        self.schedule(
            datetime.fromtimestamp(entry.next_slot(now_ms), UTC).replace(tzinfo=None),
            f"worker.tasks.{entry.kind}",
            interval=entry.interval_s,
            id=entry.id,
            timeout=JOB_TIMEOUT_S,
            description=entry.name,
            at_front=entry.urgent,
        )
        if entry.kind == BATCH and not self._context.limiter.status().batch_at_ms:
            # The first batch is due at once: background work must not take its calls before it.
            calls = len(self._context.settings.priority_assets)
            self._context.limiter.plan_batch(now_ms, entry.interval_s * 1000, calls)
        log.info("schedule.restored", entry=entry.id, trigger=entry.trigger)
        reached(Point.ENTRY_RESTORED)

    def _done(self, entry: Entry, now_ms: int) -> bool:
        """Has the present slot's work begun?"""
        slot = str(entry.slot(now_ms))
        if entry.kind == BATCH:
            return bool(self.connection.exists(self._context.keys.batch(slot)))
        return self._context.redis.get(self._context.keys.secondary) == slot

    def _push(self, entry: Entry, now_ms: int) -> None:
        """Pushes the present slot's tick unless one waits already or was pushed just now."""
        slot = entry.slot(now_ms)
        pushed_slot, pushed_at = self._pushed.get(entry.kind, (0, 0))
        if pushed_slot == slot and now_ms - pushed_at < LOST_TICK_MS:
            return
        if self._done(entry, now_ms) or self._ticks.waiting(entry.kind):
            return
        self._pushed[entry.kind] = (slot, now_ms)
        reached(Point.PUSH_BEFORE)
        tick = self._ticks.push(entry.kind, str(slot), urgent=entry.urgent)
        log.info("tick.pushed", tick=tick, slot=slot)

    def _drain_if_due(self) -> None:
        """What time alone makes due: leases, delays, a free call. Starts a drain if none waits."""
        hint = self._context.queue.reap()
        due = hint.wait_ms == 0 and not self.connection.exists(self._context.keys.outage)
        self._overdue = self._overdue + 1 if due else 0
        if due and (not hint.waiting or self._overdue > OVERDUE_PASSES):
            reached(Point.REAPED)
            self._ticks.ensure_drain()

    # --- the process

    def run(self, burst: bool = False) -> None:
        """Passes once a second until a signal. An outage of Redis is waited for."""
        self._install_signal_handlers()
        log.info("scheduler.started", name=self.name, entries=sorted(self._entries))
        pause_s = float(INTERVAL_S)
        while not self._stop.is_set():
            try:
                self._guarded_pass()
                pause_s = float(INTERVAL_S)
            except RedisError as error:
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                log.error("scheduler.redis", detail=str(error), retry_in_s=pause_s)
            if burst:
                break
            self._stop.sleep(pause_s)
        self._end()

    def _guarded_pass(self) -> None:
        if not self.acquire_lock():
            return
        reached(Point.LOCK_TAKEN)
        try:
            self.run_once()
            heartbeat.beat(self.connection, self._context.keys, self.name)
            reached(Point.LOCK_KEPT)
        except RedisError as error:
            self._lock_acquired = not away(error)  # else nobody is there to free it: it runs out
            raise
        finally:
            self.remove_lock()

    def _end(self) -> None:
        hurry(self.connection)
        with contextlib.suppress(RedisError):  # it ends all the same; the book forgets it by itself
            heartbeat.gone(self.connection, self._context.keys, self.name)
        log.info("scheduler.ended", name=self.name)

    def _install_signal_handlers(self) -> None:
        def end(signum: int, frame: FrameType | None) -> None:
            self._stop.set()

        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGTERM, end)


def schedule(context: Context) -> list[dict[str, Any]]:
    """The schedule for people and pages: id, name, next_run (ISO, UTC) and trigger of each entry.

    Reads Redis once and changes nothing. `next_run` is None for an entry that is missing in Redis:
    no scheduler has run there yet, or none has since it was lost.
    """
    standing: Any = context.redis.zrange(entries_key(context.keys), 0, -1, withscores=True)
    at = {_text(id_): score for id_, score in standing}
    return [
        {
            "id": entry.id,
            "name": entry.name,
            "next_run": _iso(at[entry.id]) if entry.id in at else None,
            "trigger": entry.trigger,
        }
        for entry in entries(context.settings)
    ]


def entries_key(keys: Keys) -> str:
    """ZSET entry id → second of its next run."""
    return keys.named("scheduler:entries")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
