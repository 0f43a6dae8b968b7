"""Since when a cause stands: told alike by all web processes, and kept over every restart."""

from __future__ import annotations

import pytest
from redis import Redis

from health.beginnings import KEEP_S, Beginnings, begun
from health.texts import at
from local.servers.valkey import ValkeyServer
from settings import Settings
from tests.kit.health import System


@pytest.fixture
def system(redis_url: str, migrated_url: str, r: Redis) -> System:
    settings = Settings.model_validate({"REDIS_URL": redis_url, "DATABASE_URL": migrated_url})
    system = System(settings, r)
    system.make_healthy()
    return system


def another(system: System) -> System:
    """Another web process, or the same one after a restart."""
    return System(system.context.settings, system.context.redis)


def seen(system: System) -> str:
    """Since when RQ is seen to be suspended."""
    (cause,) = system.becomes("unhealthy", "RQ is suspended")["causes"]
    return str(cause["since"])


def age(system: System, seconds: int, cause: str = "suspended") -> None:
    """Let the cause have begun earlier, as if the time had passed."""
    redis, key = system.context.redis, system.context.keys.causes
    for field in (cause, "looked"):
        redis.hincrby(key, field, -seconds * 1000)


def test_two_processes_tell_the_same_also_after_a_restart(system: System) -> None:
    other = another(system)
    system.context.redis.set("rq:suspended", 1)
    seen(system)
    age(system, 3600)
    hour_ago = seen(system)
    assert seen(other) == seen(another(system)) == hour_ago
    assert 0 < int(system.context.redis.ttl(system.context.keys.causes)) <= KEEP_S

    system.context.redis.delete("rq:suspended")
    other.becomes("healthy")  # only one of them sees that it is over
    system.context.redis.set("rq:suspended", 1)
    assert seen(system) > hour_ago
    assert seen(other) == seen(system)


def test_redis_that_lost_its_data(system: System, valkey_server: ValkeyServer) -> None:
    system.context.redis.set("rq:suspended", 1)
    seen(system)
    age(system, 3600)
    hour_ago = seen(system)
    valkey_server.stop()
    system.becomes("unhealthy", "Redis does not answer")
    valkey_server.start()
    system.context.redis.flushall()
    system.make_healthy()
    system.context.redis.set("rq:suspended", 1)
    assert seen(system) == seen(another(system)) == hour_ago


def test_workers_that_no_process_has_ever_seen(system: System) -> None:
    """Their heartbeats are long gone: the process alone would count from its own start."""
    system.context.redis.delete(system.context.keys.heartbeats)
    system.health()
    age(system, 3600, "worker")

    def since(one: System) -> str:
        return str({c["cause"]: c["since"] for c in one.health()["causes"]}["worker"])

    assert since(another(system)) == since(system) < since_start(system)


def since_start(system: System) -> str:
    """A time after which the processes of these tests began."""
    return at(system.context.redis_now_ms() - 1800_000)


@pytest.mark.parametrize(
    ("kept", "mine", "since"),
    [
        ({}, {}, 100),
        ({"x": 40, "looked": 90}, {}, 40),
        ({"x": 40, "looked": 90}, {"x": 30}, 40),
        ({}, {"x": 30}, 30),  # Redis lost it
        ({"looked": 20}, {"x": 30}, 30),  # it began while Redis was away
        ({"looked": 50}, {"x": 30}, 100),  # another process saw it gone
        ({"x": 140, "looked": 150}, {}, 100),  # the clock stepped back
    ],
)
def test_where_a_beginning_is_taken_from(
    kept: dict[str, int], mine: dict[str, int], since: int
) -> None:
    assert begun(["x"], kept, mine, 100) == {"x": since}


def test_a_damaged_or_refusing_store_is_no_failure(system: System) -> None:
    redis, keys = system.context.redis, system.context.keys
    redis.hset(keys.causes, "suspended", "yesterday")
    mine = Beginnings(redis, keys)
    assert mine.of(["suspended"], 5_000, readable=True) == {"suspended": 5_000}
    redis.delete(keys.causes)
    redis.set(keys.causes, "no hash")
    assert mine.of(["suspended"], 9_000, readable=True) == {"suspended": 5_000}
