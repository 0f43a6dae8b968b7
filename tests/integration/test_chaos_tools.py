"""The tools of the chaos runs: roads that are cut and slow, and a plan that repeats."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local.servers.valkey import ValkeyServer
from tests.chaos.faults import KINDS, PROCESS_KINDS, plan
from tests.kit.roads import Road


@pytest.fixture
def road(valkey_server: ValkeyServer, redis_url: str) -> Iterator[Road]:
    road = Road(valkey_server.port).start()
    yield road
    road.stop()


def _client(road: Road) -> redis.Redis:
    return redis.Redis(port=road.port, socket_timeout=5, retry=Retry(NoBackoff(), 0))


def test_a_road_carries_and_can_be_cut_for_a_while(road: Road) -> None:
    with _client(road) as client, socket.create_connection(("127.0.0.1", road.port), 5) as open_one:
        open_one.sendall(b"PING\r\n")
        assert open_one.recv(64) == b"+PONG\r\n"
        road.cut()
        with contextlib.suppress(ConnectionResetError):
            assert open_one.recv(64) == b"", "the connection is gone"
        assert client.ping()  # a new one passes
        road.cut(close=True)
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        road.open()
        assert client.ping()


def test_a_slow_road_delays_both_ways(road: Road) -> None:
    with _client(road) as client:
        client.ping()
        road.delay_s = lambda: 0.1
        began = time.monotonic()
        client.ping()
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("seed", range(1, 11))
def test_a_plan_repeats_and_leaves_no_kind_out(seed: int) -> None:
    faults = plan(seed, 120, 4)
    assert faults == plan(seed, 120, 4)
    assert faults != plan(seed + 1, 120, 4)
    assert {fault.kind for fault in plan(seed, 300, 4)} == set(KINDS)
    locked = [fault.at_s for fault in faults if fault.kind == "postgres locked rows"]
    struck = [fault.at_s for fault in faults if fault.kind in PROCESS_KINDS]
    assert not any(at - 12 <= other <= at + 10 for at in locked for other in struck)
    assert len({fault.kind for fault in faults}) >= len(KINDS) - 1
    assert all(0 <= fault.at_s < 120 for fault in faults)
