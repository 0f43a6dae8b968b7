"""Redis behind a socket of this machine: every client that a process makes of its URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.servers.valkey import ValkeyServer
from queueing import Request
from runtime.context import Context
from runtime.redis_client import twin_for_rq
from settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    socket = tmp_path / "redis.sock"
    server = ValkeyServer(tmp_path / "valkey", extra=("--unixsocket", str(socket)))
    server.start()
    try:
        yield Settings.load({"REDIS_URL": f"unix://{socket}?db=3"}, env_file=None)
    finally:
        server.stop()


def test_a_socket_is_as_good_as_a_port(settings: Settings) -> None:
    with Context.open(settings) as context, twin_for_rq(context.redis) as for_rq:
        context.queue.enqueue([Request("EURUSD")])
        assert context.queue.size == 1
        assert for_rq.ping()
        assert for_rq.info("keyspace").keys() == {"db3"}
