"""A real server that answers and refuses: each family is recognized, by reading only."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local.servers.valkey import ValkeyServer
from runtime.redis_outage import Outage, outage, refusal_of_writes
from tests.kit.waiting import eventually

KEY = "assetq:{massive}:queue"


@contextmanager
def configured(r: redis.Redis, name: str, value: str, normal: str) -> Iterator[None]:
    r.config_set(name, value)
    try:
        yield
    finally:
        r.config_set(name, normal)


@contextmanager
def replica(r: redis.Redis) -> Iterator[None]:
    r.replicaof("127.0.0.1", 1)
    try:
        yield
    finally:
        r.replicaof("NO", "ONE")


@contextmanager
def busy(r: redis.Redis) -> Iterator[None]:
    """A script that runs until it is killed."""
    place = {name: r.connection_pool.connection_kwargs[name] for name in ("host", "port")}
    once = Retry(NoBackoff(), 0)  # a second try would run it again

    def run() -> None:
        with (
            redis.Redis(**place, socket_timeout=None, retry=once) as client,
            pytest.raises(redis.ResponseError, match="killed"),
        ):
            client.eval("while true do end", 0)

    with configured(r, "busy-reply-threshold", "20", "5000"):
        thread = threading.Thread(target=run)
        thread.start()
        try:
            eventually(lambda: refusal_of_writes(r, KEY))
            yield
        finally:
            r.script_kill()
            thread.join()


def refused_write(r: redis.Redis) -> Outage | None:
    """What an ordinary write meets."""
    try:
        r.set("probe", 1)
    except redis.RedisError as error:
        return outage(error)
    return None


@pytest.mark.parametrize(
    ("kind", "provoked"),
    [
        ("memory", lambda r: configured(r, "maxmemory", "100kb", "0")),
        ("replicas", lambda r: configured(r, "min-replicas-to-write", "1", "0")),
        ("read-only", replica),
        ("script", busy),
    ],
)
def test_refusals(
    r: redis.Redis, kind: str, provoked: Callable[[redis.Redis], AbstractContextManager[None]]
) -> None:
    assert refusal_of_writes(r, KEY) is None
    r.script_flush()  # the question itself must pass, too
    with provoked(r):
        for found in (refusal_of_writes(r, KEY), refused_write(r)):
            assert found
            assert found.kind == kind
    assert refusal_of_writes(r, KEY) is None
    assert refused_write(r) is None


@pytest.mark.parametrize("rules", ["-zadd", "-@write", "-xadd", "resetkeys ~other:*"])
def test_a_user_without_the_rights_to_write(r: redis.Redis, redis_url: str, rules: str) -> None:
    r.execute_command("ACL", "SETUSER", "u", "on", ">p", "~assetq:*", "&*", "+@all")
    try:
        with redis.Redis.from_url(redis_url, username="u", password="p") as user:
            assert refusal_of_writes(user, KEY) is None
            r.execute_command("ACL", "SETUSER", "u", *rules.split())
            found = refusal_of_writes(user, KEY)
            assert found
            assert found.kind == "rights"
            assert "assetq acl" in found.remedy
    finally:
        r.acl_deluser("u")


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey", extra=("--appendonly", "no"))
    (tmp_path / "valkey").mkdir()
    server.start()
    try:
        with redis.Redis.from_url(server.url, decode_responses=True) as r:
            r.config_set("save", "3600 1")
            assert refusal_of_writes(r, KEY) is None
            shutil.rmtree(tmp_path / "valkey")
            r.bgsave()
            found = eventually(lambda: refusal_of_writes(r, KEY))
            assert found
            assert found.kind == "disk"
            assert found == refused_write(r)
    finally:
        server.kill()
