"""Heartbeats: which processes live, by Redis' clock, also after that clock stepped back."""

from __future__ import annotations

import subprocess
import sys

import redis

from queueing import Keys
from runtime import heartbeat

KEYS = Keys()


def test_containers_with_one_hostname_and_pid_have_two_names() -> None:
    program = "from runtime.heartbeat import own_name; print(own_name('worker', 1))"
    names = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert names[0].stdout != names[1].stdout
    assert heartbeat.own_name("worker", 1) == heartbeat.own_name("worker", 1)


def test_a_process_that_ends_leaves_the_others(r: redis.Redis) -> None:
    for name in ("worker@a-1-aaaa", "worker@a-1-bbbb", "scheduler@a-2-cccc"):
        heartbeat.beat(r, KEYS, name)
    heartbeat.gone(r, KEYS, "worker@a-1-aaaa")
    assert [p.name for p in heartbeat.living(r, KEYS, "worker")] == ["worker@a-1-bbbb"]
    assert sorted(p.role for p in heartbeat.processes(r, KEYS)) == ["scheduler", "worker"]
    assert set(heartbeat.ended(r, KEYS)) == {"worker"}
    assert heartbeat.ended(r, KEYS)["worker"] < 5_000


def test_old_and_future_heartbeats_prove_nothing(r: redis.Redis) -> None:
    now_ms = int(r.time()[0]) * 1000
    ahead = {"worker@hour-1": now_ms + 3_600_000, "worker@step-1": now_ms + 5_000}
    r.zadd(KEYS.heartbeats, {**ahead, "worker@late-1": now_ms - heartbeat.ALIVE_MS - 1_000})
    assert heartbeat.living(r, KEYS, "worker") == []
    assert [p.name for p in heartbeat.processes(r, KEYS)] == ["worker@late-1"]
    heartbeat.beat(r, KEYS, "worker@step-1")
    assert [p.name for p in heartbeat.living(r, KEYS, "worker")] == ["worker@step-1"]
