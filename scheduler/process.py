"""The scheduler: rq-scheduler's entries and lock, with slots, recovery and a pass per second.

Any number of schedulers may run; a lock with an owner lets one pass at a time. Each pass decides
from what it finds in Redis, so that the next one mends a crash between any two commands: it
restores a missing entry, pushes a lost tick again, and starts the drain that a wake-up missed.
"""

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import structlog
from redis.exceptions import LockError, RedisError
from rq.job import Job
from rq_scheduler.scheduler import Scheduler

from runtime import heartbeat
from runtime.context import Context
from runtime.failpoints import Point, reached
from runtime.redis_client import away
from runtime.stopping import StopFlag
from scheduler.entries import Entry, entries, entries_key, instant
from scheduler.lifetimes import shorten
from worker.critical import last_known
from worker.resilience import Patience, hurry
from worker.ticks import BARS, BATCH, JOB_TIMEOUT_S, Ticks

log = structlog.get_logger(__name__)

INTERVAL_S = 1
LOCK_S = 3
"""How long the lock of a dead scheduler holds up the others; expired leases wait for a pass."""
LOST_TICK_MS = 10_000
"""A slot without its record this long after its tick was pushed is pushed again."""
SHORTEN_PASSES = 30
"""Once in this many passes no key is left to live too long."""
_JOB_ID = re.compile(rb"[A-Za-z0-9_-]+")
OVERDUE_PASSES = 2
"""A waiting drain that has left due work for this many passes is dead."""


class TickScheduler(Scheduler):
    """rq-scheduler under names of our own, beside other users of the same Redis."""

    def __init__(self, context: Context, ticks: Ticks) -> None:
        prefix = context.keys.scheduler
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
            name=heartbeat.own_name("scheduler"),
        )
        self._context = context
        self._ticks = ticks
        self._entries = {entry.id: entry for entry in entries(context.settings)}
        self._lock = self.connection.lock(self.scheduler_lock_key, timeout=LOCK_S, blocking=False)
        self._pushed: dict[str, tuple[int, int]] = {}
        self._overdue = 0
        self._passes = 0

    # --- rq-scheduler's own verbs, on Redis' clock and with an owner

    def acquire_lock(self) -> bool:
        """Takes the lock if it is free; True if this scheduler holds it now."""
        self._lock_acquired = bool(self._lock.acquire())
        if not self._lock_acquired:
            # It outlives LOCK_S only if Redis' clock stepped back since.
            self.connection.pexpire(self.scheduler_lock_key, LOCK_S * 1000, lt=True)
        return self._lock_acquired

    def remove_lock(self) -> None:
        """Frees the lock if this scheduler still holds it."""
        if self._lock_acquired:
            self._lock_acquired = False
            with contextlib.suppress(LockError):  # it expired: another scheduler may have it
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

    def run_once(self) -> bool:
        """One pass under the lock; False if another scheduler holds it. Raises RedisError."""
        if not self.acquire_lock():
            return False
        reached(Point.LOCK_TAKEN)
        try:
            self._pass()
            heartbeat.beat(self.connection, self._context.keys, self.name)
            reached(Point.LOCK_KEPT)
        except RedisError as error:
            self._lock_acquired = not away(error)  # without Redis it can only expire
            raise
        finally:
            self.remove_lock()
        return True

    def _pass(self) -> None:
        """Does everything that is due now."""
        self.restore_entries()
        self.enqueue_jobs()
        now_ms = self._context.redis_now_ms()
        for entry in self._entries.values():
            if not self._done(entry, now_ms):
                self._push(entry, now_ms)
        if self._passes % SHORTEN_PASSES == 0:
            shorten(self._context)
        self._passes += 1
        self._drain_if_due()

    def restore_entries(self) -> None:
        """Puts missing entries back; without critical assets it also ends their reservation."""
        now_ms = self._context.redis_now_ms()
        standing = self._standing()
        for entry in self._entries.values():
            at = standing.get(entry.id)
            same = at is not None and at <= entry.next_slot(now_ms) and entry.slot(at * 1000) == at
            if not same or not Job.exists(entry.id, self.connection):
                self._restore(entry, now_ms)
        if not self._context.settings.priority_assets_enabled:
            self._context.limiter.plan_batch(0, 0, 0)

    def _standing(self) -> dict[str, int | None]:
        """Entry → second of its next run. Removes what an external writer left that names no job:
        rq-scheduler would end of it."""
        found: dict[str, int | None] = {}
        key = self.scheduled_jobs_key
        for name, score in self.connection.zrange(key, 0, -1, withscores=True):
            if _JOB_ID.fullmatch(name):
                found[name.decode()] = instant(score)
            else:
                self.connection.zrem(key, name)
        return found

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
        if entry.kind == BATCH:
            self._plan_restored(entry, now_ms)
        log.info("schedule.restored", entry=entry.id, trigger=entry.trigger)
        reached(Point.ENTRY_RESTORED)

    def _plan_restored(self, entry: Entry, now_ms: int) -> None:
        """Lets background work leave calls free for the next batch."""
        limiter, next_ms = self._context.limiter, entry.next_slot(now_ms) * 1000
        planned = limiter.status()
        if not planned.batch_at_ms:  # the first batch is due at once
            calls = len(last_known(self._context))
            limiter.plan_batch(now_ms, entry.interval_s * 1000, calls)
        elif planned.batch_at_ms > next_ms:  # Redis' clock has stepped back
            limiter.plan_batch(next_ms, entry.interval_s * 1000, planned.batch_calls)

    def _done(self, entry: Entry, now_ms: int) -> bool:
        """True if the work of the present slot has begun."""
        slot = str(entry.slot(now_ms))
        if entry.kind == BATCH:
            return self._context.queue.batch_enqueued(slot)
        keys = self._context.keys
        return self._context.redis.get(keys.bars if entry.kind == BARS else keys.secondary) == slot

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
        """Starts a drain for what time alone made due (leases, delays, calls) if none waits."""
        hint = self._context.queue.reap()
        due = hint.wait_ms == 0 and not self.connection.exists(self._context.keys.outage)
        self._overdue = self._overdue + 1 if due else 0
        if due and (not hint.waiting or self._overdue > OVERDUE_PASSES):
            reached(Point.REAPED)
            self._ticks.ensure_drain()

    # --- the process

    def run(self, burst: bool = False, *, stop: StopFlag | None = None) -> None:
        """Passes once a second until `stop` is set (`burst`: once), and waits for Redis.

        Raises RedisError for a wrong login or a missing right.
        """
        stop = stop or StopFlag()
        log.info("scheduler.started", name=self.name, entries=sorted(self._entries))
        patience = Patience("schedule", first_s=float(INTERVAL_S))
        while not stop.is_set():
            pause_s = float(INTERVAL_S)
            try:
                self.run_once()
                patience.succeeded()
            except RedisError as error:
                pause_s = patience.failed(error)
            if burst:
                break
            stop.sleep(pause_s)
        self._end()

    def _end(self) -> None:
        hurry(self.connection)
        with contextlib.suppress(RedisError):  # the heartbeat then expires by itself
            heartbeat.gone(self.connection, self._context.keys, self.name)
        log.info("scheduler.ended", name=self.name)
