"""A process that starts waits for Redis: one line per kind of outage, then it goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from local.servers.process import dying_with_us
from local.servers.valkey import ValkeyServer
from tests.integration.test_runtime_redis_outage import busy
from tests.kit.waiting import eventually

PROGRAM = """
import sys
from redis import Redis
from runtime.logs import configure
from worker.resilience import wait_for_redis
configure()
wait_for_redis(Redis.from_url(sys.argv[1], socket_timeout=1))
print("started")
"""


class Starting:
    """The process, and what it has logged."""

    def __init__(self, url: str, log: Path) -> None:
        self.path = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, url],
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=dying_with_us(),
            )

    @property
    def log(self) -> str:
        return self.path.read_text()


@pytest.fixture
def starting(valkey_server: ValkeyServer, redis_url: str, tmp_path: Path) -> Iterator[Starting]:
    """A process that finds no Redis."""
    valkey_server.stop()
    one = Starting(redis_url, tmp_path / "log")
    eventually(lambda: "redis.away" in one.log)
    yield one
    one.process.kill()
    one.process.wait()
    valkey_server.start()


def test_it_goes_on_when_redis_is_there(starting: Starting, valkey_server: ValkeyServer) -> None:
    valkey_server.start()
    assert starting.process.wait(60) == 0
    assert "started" in starting.log
    assert starting.log.count("redis.away") == 1
    assert "Redis does not answer (Connection refused)" in starting.log
    assert "event='redis.back'" in starting.log


def test_a_signal_ends_it(starting: Starting) -> None:
    starting.process.send_signal(signal.SIGTERM)
    assert starting.process.wait(60) == 0
    assert "started" not in starting.log


def test_another_kind_of_outage_is_another_line(
    starting: Starting, valkey_server: ValkeyServer
) -> None:
    valkey_server.start()
    with redis.Redis.from_url(valkey_server.url) as r, busy(r):
        one = Starting(valkey_server.url, starting.path.with_name("other"))
        eventually(lambda: "A script keeps Redis busy" in one.log)
    assert one.process.wait(60) == 0
    assert "started" in one.log


def test_a_wrong_login_is_not_waited_for(redis_url: str, tmp_path: Path) -> None:
    one = Starting(redis_url.replace("redis://", "redis://nobody:secret@"), tmp_path / "log")
    assert one.process.wait(60) == 1
    assert "AuthenticationError" in one.log
