"""A key that was set before Redis' clock stepped back lives no longer than it should."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from db.errors import DatabaseError
from runtime.context import Context
from runtime.heartbeat import beat
from scheduler.lifetimes import lifetimes
from scheduler.process import LOCK_S, TickScheduler
from tests.chaos.clock import SettableValkey, why_not
from tests.kit.ports import own_port
from tests.kit.waiting import eventually
from tests.kit.worker import settings_for
from worker.capabilities import Capabilities
from worker.tasks import LONGEST_OUTAGE_MS, pause_drains
from worker.ticks import Ticks

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SettableValkey]:
    server = SettableValkey(tmp_path_factory.mktemp("settable"), port=own_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def context(valkey: SettableValkey) -> Iterator[Context]:
    with Redis.from_url(valkey.url) as client:
        client.flushall()
    given = settings_for(valkey.url, "postgresql://u@127.0.0.1:1/none", "http://127.0.0.1:1")
    with Context.open(given) as opened:
        valkey.step(2 * DAY_S)
        yield opened
        valkey.step(0)


def step_back(valkey: SettableValkey, context: Context, key: str) -> None:
    """The clock is right again, and the key's end more than a day away."""
    valkey.step(0)
    eventually(lambda: context.redis.pttl(key) > DAY_S * 1000)


def scheduler(context: Context) -> Iterator[TickScheduler]:
    ticks = Ticks(context.redis, context.keys)
    yield TickScheduler(context, ticks)
    ticks.close()


@pytest.fixture
def one(context: Context) -> Iterator[TickScheduler]:
    yield from scheduler(context)


@pytest.fixture
def other(context: Context) -> Iterator[TickScheduler]:
    yield from scheduler(context)


def test_the_lock_of_a_dead_scheduler_ends_in_seconds(
    valkey: SettableValkey, context: Context, one: TickScheduler, other: TickScheduler
) -> None:
    assert one.acquire_lock()
    step_back(valkey, context, context.keys.scheduler_lock)
    assert other.run_once() is False
    left_ms = context.redis.pttl(context.keys.scheduler_lock)
    assert 0 < left_ms <= LOCK_S * 1000
    context.redis.pexpire(context.keys.scheduler_lock, 1)
    eventually(other.run_once)


def test_an_outage_does_not_pause_the_drains_for_the_length_of_the_step(
    valkey: SettableValkey, context: Context, one: TickScheduler
) -> None:
    pause_drains(context, DatabaseError("gone"))
    step_back(valkey, context, context.keys.outage)
    one.run_once()
    assert context.redis.pttl(context.keys.outage) <= LONGEST_OUTAGE_MS


def test_what_is_remembered_of_a_key_ends_within_its_day(
    valkey: SettableValkey, context: Context, one: TickScheduler
) -> None:
    Capabilities(context).refuse("snapshot", "not in the plan")
    beat(context.redis, context.keys, "worker@here-1")
    context.redis.set(context.keys.secondary, "1", px=DAY_S * 1000)
    step_back(valkey, context, context.keys.secondary)
    one.run_once()
    for key, longest_ms in lifetimes(context).items():
        assert context.redis.pttl(key) <= longest_ms, key
    assert Capabilities(context).refused() == {"snapshot": "not in the plan"}


def test_ordinary_lifetimes_are_left_alone(
    valkey: SettableValkey, context: Context, one: TickScheduler
) -> None:
    pause_drains(context, DatabaseError("gone"))
    before_ms = context.redis.pttl(context.keys.outage)
    one.run_once()
    assert context.redis.pttl(context.keys.outage) <= before_ms
