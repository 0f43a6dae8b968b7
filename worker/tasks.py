"""What RQ executes: the ticks. Each runs in a fork, and opens its own connections."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from redis.exceptions import RedisError

from db.calls import CallLog
from db.connection import Connection, connect
from db.errors import DatabaseError, DatabaseUnavailable
from market.client import MarketClient
from queueing.foreign import figure
from runtime.context import Context
from runtime.failpoints import Point, reached
from runtime.heartbeat import own_name
from runtime.logs import configure
from runtime.redis_client import away
from runtime.stopping import STOP, StopFlag
from settings import Settings
from worker.batch import begin, slot_of
from worker.capabilities import Capabilities
from worker.drain import SLICE_S, Drain, Drained
from worker.follow import EVERY_MS, SETTLES_MS, enqueue_new_bars
from worker.history import tell_new_history
from worker.hours import note_hour
from worker.refresh import Refresher
from worker.secondary import enqueue_secondary
from worker.selection import utc_from_ms
from worker.ticks import Ticks

log = structlog.get_logger(__name__)

STATEMENT_S = 5.0
KEEP_CALLS_DAYS = 30
"""How long the audit of calls is kept: at 5 calls a minute 7,200 rows a day."""
OUTAGE_MS, LONGEST_OUTAGE_MS = 5_000, 60_000
"""The pause of all drains after PostgreSQL did not take an answer; it doubles while writes are
refused. While PostgreSQL is away it does not: a drain that finds out costs no call."""
OUTAGE_MEMORY_MS = 60_000
"""An outage this much later than the last pause is a new one."""


@dataclass(frozen=True)
class TickSession:
    """Everything open that a tick needs."""

    context: Context
    connection: Connection
    ticks: Ticks
    capabilities: Capabilities

    def drain(
        self, *, stop: StopFlag = STOP, slice_s: float = SLICE_S, patient: bool = True
    ) -> Drained:
        """Drains in this process."""
        settings = self.context.settings
        with MarketClient(
            settings.base_url,
            settings.required_api_key(),
            timeout_s=settings.request_timeout_seconds,
        ) as client:
            refresher = Refresher(
                self.context,
                client,
                self.connection,
                self.capabilities,
                reconnect=lambda: open_database(settings),
                stop=stop,
            )
            drain = Drain(
                self.context,
                self.ticks,
                refresher,
                self.capabilities,
                name=own_name("drain"),
                stop=stop,
                slice_s=slice_s,
                patient=patient,
            )
            try:
                return drain.run()
            finally:
                refresher.store.close()


def open_database(settings: Settings) -> Connection:
    """Opens a connection with limits that bound every statement of a tick."""
    return connect(
        settings.database_url,
        statement_timeout_s=STATEMENT_S,
        lock_timeout_s=STATEMENT_S,
        patience_s=STATEMENT_S + 1,
    )


@contextmanager
def open_session(settings: Settings) -> Iterator[TickSession]:
    """Opens Redis and PostgreSQL for one tick, and closes them at its end."""
    with Context.open(settings) as context:
        ticks = Ticks(context.redis, context.keys)
        try:
            with open_database(settings) as connection:
                yield TickSession(context, connection, ticks, Capabilities(context))
        finally:
            ticks.close()


def _tick(work: Callable[[TickSession], None]) -> None:
    settings = Settings.load()
    configure(settings)
    try:
        _work(settings, work)
    except RedisError as error:
        if not away(error):
            raise
        # No failure of the tick: its leases expire, and the worker waits for Redis.
        log.error("tick.redis", detail=str(error))


def _work(settings: Settings, work: Callable[[TickSession], None]) -> None:
    try:
        with open_session(settings) as session:
            work(session)
            note_hour(session.context, session.connection)
    except DatabaseError as error:
        # No failure of the tick: the next one finds the same queue.
        with Context.open(settings) as context:
            pause_ms = pause_drains(context, error)
        log.error("tick.database", detail=str(error), next_in_ms=pause_ms)


def pause_drains(context: Context, error: DatabaseError) -> int:
    """Lets no drain start for a while, and keeps the cause for health; returns the pause in ms."""
    redis, key = context.redis, context.keys.outage_pause
    last: Any = redis.get(key)
    pause_ms = OUTAGE_MS
    if (last_ms := figure(last)) and not isinstance(error, DatabaseUnavailable):
        pause_ms = min(last_ms * 2, LONGEST_OUTAGE_MS)
    pipe = redis.pipeline(transaction=True)
    pipe.set(context.keys.outage, f"PostgreSQL: {error}"[:300], px=pause_ms)
    pipe.set(key, pause_ms, px=pause_ms + OUTAGE_MEMORY_MS)
    pipe.execute()
    return pause_ms


def batch(planned: str = "") -> None:
    """Tick: begins the batch of the present slot, then drains."""
    _tick(_begin_batch)


def _begin_batch(session: TickSession) -> None:
    reached(Point.BATCH_BEFORE)
    begin(session.context, session.connection, session.capabilities)
    reached(Point.BATCH_BEGUN)
    session.drain()


def secondary(planned: str = "") -> None:
    """Tick: asks for all other assets; the next drain takes them."""
    _tick(_ask_for_others)


def _ask_for_others(session: TickSession) -> None:
    context = session.context
    interval_ms = context.settings.secondary_interval_minutes * 60_000
    # The present slot's: the tick may have waited for a worker since an earlier one.
    slot = slot_of(context.redis_now_ms(), interval_ms) // 1000
    if session.capabilities.gives_bars():
        now = utc_from_ms(context.redis_now_ms())
        tell_new_history(session.connection, context.settings, now)
    found = enqueue_secondary(context, session.connection, session.capabilities)
    note_hour(context, session.connection, found.figures)
    reached(Point.SECONDARY_ENQUEUED)
    context.redis.set(context.keys.secondary, str(slot), px=24 * 3600 * 1000)
    reached(Point.SECONDARY_NOTED)
    session.ticks.ensure_drain()
    CallLog(session.connection).prune(KEEP_CALLS_DAYS)


def bars(planned: str = "") -> None:
    """Tick: asks for the bars that have ended; the next drain takes them."""
    _tick(_ask_for_new_bars)


def _ask_for_new_bars(session: TickSession) -> None:
    context = session.context
    slot = slot_of(context.redis_now_ms() - SETTLES_MS, EVERY_MS) + SETTLES_MS
    enqueue_new_bars(context, session.connection, session.capabilities)
    reached(Point.BARS_ENQUEUED)
    context.redis.set(context.keys.bars, str(slot // 1000), px=24 * 3600 * 1000)
    reached(Point.BARS_NOTED)
    session.ticks.ensure_drain()


def drain() -> None:
    """Tick: refreshes what waits, as far as calls are free."""
    _tick(_drain)


def _drain(session: TickSession) -> None:
    session.drain()
