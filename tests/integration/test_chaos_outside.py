"""Each trouble of the chaos runs is what it says while it lasts, and is over afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import redis
from redis.exceptions import RedisError

from cli.commands.acl import USER
from tests.chaos.clock import SettableValkey, why_not
from tests.chaos.outside import STEP_S, TROUBLES, Outside
from tests.chaos.run import VALKEY_OPTIONS
from tests.kit.ports import own_port
from tests.kit.security import REDIS_PASSWORD, least_role
from tests.kit.waiting import eventually

REFUSALS = {
    "redis memory": "maxmemory|OOM",
    "redis disk": "MISCONF|disk",
    "redis replicas": "NOREPLICAS|replicas",
    "redis busy": "BUSY|busy",
    "redis rights": "NOPERM|permission",
}


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SettableValkey]:
    server = SettableValkey(
        tmp_path_factory.mktemp("settable"), port=own_port(), extra=VALKEY_OPTIONS
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def outside(valkey: SettableValkey, migrated_url: str) -> Outside:
    return Outside(valkey, migrated_url, rows=("XAUUSD",))


def refusal(valkey: SettableValkey) -> str:
    """What a script that writes is told; empty if it is done."""
    with redis.Redis(
        port=valkey.port, username=USER, password=REDIS_PASSWORD, socket_timeout=2
    ) as client:
        try:
            digest = client.script_load("return redis.call('set', KEYS[1], 1)")
            client.evalsha(digest, 1, "assetq:{massive}:x")
        except RedisError as error:
            return str(error) or type(error).__name__
    return ""


@pytest.mark.parametrize("kind", REFUSALS)
def test_redis_refuses_and_then_does_not(outside: Outside, kind: str) -> None:
    assert refusal(outside.valkey) == ""
    with TROUBLES[kind].lasting(outside):
        eventually(lambda: refusal(outside.valkey) != "")
        said = refusal(outside.valkey)
        assert any(word in said for word in REFUSALS[kind].split("|")), said
    eventually(lambda: refusal(outside.valkey) == "")


def test_rq_is_suspended(outside: Outside) -> None:
    with outside.redis() as client:
        with TROUBLES["rq suspended"].lasting(outside):
            assert client.exists("rq:suspended")
        assert not client.exists("rq:suspended")


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_the_clock_of_redis_is_set_and_corrected(outside: Outside) -> None:
    with outside.redis() as client:
        before = client.time()[0]

        def ahead_s() -> int:
            return int(client.time()[0] - before)

        with TROUBLES["redis clock"].lasting(outside):
            eventually(lambda: STEP_S <= ahead_s() < STEP_S + 30)
        eventually(lambda: 0 <= ahead_s() < 30)


def test_rows_are_locked_and_rights_are_gone(outside: Outside, migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO trading.symbols (symbol, polygon_ticker, asset_type) "
            "VALUES ('XAUUSD', 'C:XAUUSD', 'forex')"
        )
    update = "UPDATE trading.symbols SET metadata = metadata WHERE symbol = 'XAUUSD'"
    with least_role(migrated_url) as url, psycopg.connect(url, autocommit=True) as worker:
        worker.execute("SET lock_timeout = '100ms'")
        worker.execute(update)
        for kind, refusal_of in (
            ("postgres locked rows", psycopg.errors.LockNotAvailable),
            ("postgres rights", psycopg.errors.InsufficientPrivilege),
        ):
            with TROUBLES[kind].lasting(outside), pytest.raises(refusal_of):
                worker.execute(update)
        worker.execute(update)
