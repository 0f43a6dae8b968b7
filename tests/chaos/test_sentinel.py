"""A failover by Sentinel with work running: `make outages`.

One master, one replica, three sentinels on this machine; the master is killed while two workers and
a scheduler work under a host that starts again whatever ends.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from local.sandbox import worst_window
from local.servers.valkey import ValkeyServer, find_valkey
from runtime.redis_client import open_redis
from tests.chaos.fleet import Fleet
from tests.kit import worker as worker_kit
from tests.kit.ports import own_port
from tests.kit.waiting import eventually
from tests.kit.worker import CRITICAL, OTHERS, Site, process_env, settings_for

pytestmark = pytest.mark.skipif("OUTAGES" not in os.environ, reason="run by make outages")
LIMIT, WINDOW_S = 5, 4.0
WITHIN_S = 30.0


@dataclass
class Guarded:
    """A master with its replica, and the sentinels' URL."""

    master: ValkeyServer
    replica: ValkeyServer
    url: str


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with ExitStack() as stack:
        master = ValkeyServer(tmp_path / "master")
        master.start()
        stack.callback(master.kill)
        follow = ("--replicaof", "127.0.0.1", str(master.port))
        replica = ValkeyServer(tmp_path / "replica", extra=follow)
        replica.start()
        stack.callback(replica.kill)
        ports = [own_port() for _ in range(3)]
        for port in ports:
            config = tmp_path / f"sentinel-{port}.conf"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n"
                f"sentinel monitor mymaster 127.0.0.1 {master.port} 2\n"
                "sentinel down-after-milliseconds mymaster 1500\n"
                "sentinel failover-timeout mymaster 5000\n"
            )
            log = stack.enter_context((tmp_path / f"sentinel-{port}.log").open("wb"))
            command = [str(find_valkey()), str(config), "--sentinel"]
            one = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(one.wait)
            stack.callback(one.kill)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        with Redis(port=ports[0], decode_responses=True) as sentinel:
            eventually(lambda: _complete(sentinel), 20, what="sentinels know each other")
        yield Guarded(master, replica, f"redis+sentinel://{hosts}/mymaster/0")


def _complete(sentinel: Redis) -> bool:
    try:
        state: Any = sentinel.sentinel_master("mymaster")
    except OSError:
        return False
    return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)


def test_a_failover_with_work_running(guarded: Guarded, migrated_url: str, tmp_path: Path) -> None:
    symbols = [asset.symbol for asset in (*CRITICAL, *OTHERS)]
    with ExitStack() as stack:
        provider = stack.enter_context(
            worker_kit.sandbox("starter", limit=LIMIT, window_s=WINDOW_S)
        )
        provider.configure({"kind": "delay", "min_s": 0.1, "max_s": 0.6})
        settings = settings_for(
            guarded.url,
            migrated_url,
            provider.url,
            polygon_rate_limit=LIMIT,
            rate_window_seconds=WINDOW_S,
            request_timeout_seconds=2,
        )
        site = stack.enter_context(Site.open(settings))
        site.capabilities.refuse("snapshot_v3", "one asset per call, please")
        log = tmp_path / "fleet.log"
        env = os.environ | process_env(settings, tmp_path, PYTHONUNBUFFERED="1")
        fleet = Fleet(env, 2, log, skew_s=0)
        stack.callback(fleet.stop)
        eventually(lambda: len(provider.arrivals()) >= 7, 40, what="work runs")
        site.ask(*symbols)
        site.context.redis.wait(1, 2000)  # what is asked for stands on the replica too
        before = len(provider.arrivals())
        guarded.master.kill()
        killed_at = time.monotonic()

        def goes_on() -> bool:
            fleet.revive()
            return len(provider.arrivals()) > before + LIMIT

        eventually(goes_on, WITHIN_S + 20, every_s=0.2, what="calls after the failover")
        resumed_s = time.monotonic() - killed_at
        master = open_redis(settings.redis_url, decode_responses=True)
        stack.callback(master.close)

        def all_done() -> bool:
            fleet.revive()
            return not any(master.sismember(site.context.keys.pending, s) for s in symbols)

        eventually(all_done, 60, every_s=0.2, what="no item lost")
        assert {s for s in symbols if site.status(s) != ("success", None)} == set()
        worst = worst_window([a.mono_s for a in provider.arrivals()], WINDOW_S)
        text = log.read_text(errors="replace")
        print(
            f"resumed {resumed_s:.1f} s after the kill (of it up to {WINDOW_S + 4.1:.1f} s hold); "
            f"ended by themselves: {len(fleet.ended)}; worst window {worst}; "
            f"tracebacks {text.count('Traceback')}"
        )
        assert resumed_s < WITHIN_S
        assert worst <= LIMIT
