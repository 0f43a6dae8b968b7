"""What only a real server can show: its clock, restarts, many clients, and what things cost."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from bench.cost import fill
from local.servers.valkey import ValkeyServer
from queueing import Claimed, Done, Grant, Hint, Policy, PriorityQueue, QuotaLimiter, Request
from queueing.lua_source import keys_of
from queueing.scripts import source
from tests.kit.ports import own_port
from tests.kit.queueing import FREE, LOW, MEDIUM
from tests.kit.queueing_model import Provider
from tests.kit.waiting import eventually

SHORT = Policy(limit=3, window_ms=300, send_ms=50, guard_ms=10, aging_ms=0)
LONG = replace(SHORT, window_ms=60_000)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that this test may stop and start."""
    server = ValkeyServer(tmp_path, port=own_port())
    server.start()
    yield server
    server.kill()


def test_many_clients_at_once_stay_within_the_quota(redis_url: str) -> None:
    """8 threads claim as fast as they can; the arrival is stamped on one clock, some time later."""
    stamps: list[int] = []
    end = time.monotonic() + 2.0
    latest_end = end + 60  # of a machine so busy that they hardly work
    possible = 2_000 / (SHORT.window_ms + SHORT.send_ms + SHORT.guard_ms) * 3
    with Redis.from_url(redis_url) as client:
        queue = PriorityQueue(client, SHORT, max_size=10_000)
        queue.enqueue([Request(f"S{n}") for n in range(500)], LOW)
        QuotaLimiter(client, SHORT).reset()

    def work(number: int) -> None:
        with Redis.from_url(redis_url) as client:
            mine = PriorityQueue(client, SHORT)
            while (now := time.monotonic()) < end or (
                len(stamps) < 0.8 * possible and now < latest_end
            ):
                began = time.monotonic()
                answer = mine.claim(drain=f"d{number}")
                if isinstance(answer, Claimed):
                    # up to the last moment that the deadline, counted from before the claim, allows
                    wait_s = began + 0.98 * SHORT.send_ms / 1000 - time.monotonic()
                    threading.Event().wait(max(0.0, wait_s) * (number % 3) / 2)
                    arrives_us = time.monotonic_ns() // 1_000
                    if arrives_us <= (began + SHORT.send_ms / 1000) * 1_000_000:  # else not sent
                        stamps.append(arrives_us)
                    mine.end(answer, [Done(item.symbol) for item in answer.items], answered=True)
                elif answer.hint.waiter:
                    mine.wait(min(0.3, (answer.hint.wait_ms or 1) / 1000))
                else:
                    threading.Event().wait(0.01)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=90)
    Provider(3, SHORT.window_ms * 1_000, arrivals_us=stamps).check()
    assert len(stamps) >= 0.8 * possible, "they hardly worked: this proves nothing"


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "kill"])
def test_a_restart_holds_and_loses_nothing(own_server: ValkeyServer, kill: bool) -> None:
    with Redis.from_url(own_server.url, decode_responses=True) as client:
        limiter = QuotaLimiter(client, SHORT)
        queue = PriorityQueue(client, SHORT)
        limiter.reset()
        assert isinstance(limiter.acquire(), Grant)
        queue.enqueue([Request("A"), Request("B")], LOW)
        client.config_set("appendfsync", "always")
        queue.enqueue([Request("C")], LOW)
        (own_server.kill if kill else own_server.stop)()
        own_server.start()
        assert not limiter.status().epoch_known
        hint = limiter.acquire(urgent=True)
        assert isinstance(hint, Hint)
        assert hint.reason == "hold"
        assert 0 < (hint.wait_ms or 0) <= SHORT.horizon_ms
        assert [item.symbol for item in queue.peek(9)] == ["A", "B", "C"]
        grant = eventually(lambda: isinstance(limiter.acquire(), Grant))
        assert grant


def test_the_server_is_known_by_its_run_id(redis_url: str) -> None:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        queue = PriorityQueue(client, SHORT)
        queue.claim()
        assert client.hget(queue.keys.quota, "epoch") == client.info("server")["run_id"]


def test_a_user_without_info_goes_by_what_others_have_seen(redis_url: str) -> None:
    """One epoch for a server, whoever looks: no hold is begun anew by each claim."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.execute_command("ACL SETUSER blind on nopass ~* &* +@all -info")
        try:
            with Redis.from_url(redis_url, username="blind", password="x") as other:
                sees, blind = QuotaLimiter(client, LONG), QuotaLimiter(other, LONG)
                sees.reset()
                for limiter in (sees, blind, sees):
                    assert isinstance(limiter.acquire(), Grant)
                    assert limiter.status().epoch_known
                client.flushall()
                for limiter in (blind, sees, blind, sees):
                    assert isinstance(limiter.acquire(), Hint)
                assert int(client.hget(sees.keys.counters, "holds") or 0) <= 2
        finally:
            client.execute_command("ACL DELUSER blind")


def test_a_flush_by_another_client_holds_everybody(redis_url: str) -> None:
    with Redis.from_url(redis_url) as one, Redis.from_url(redis_url) as two:
        limiter = QuotaLimiter(one, SHORT)
        limiter.reset()
        assert isinstance(limiter.acquire(), Grant)
        two.flushall()
        held = limiter.acquire()
        assert isinstance(held, Hint)
        assert held.reason == "hold"


def test_a_waiting_drain_is_woken_by_a_request(redis_url: str) -> None:
    with Redis.from_url(redis_url) as waiter, Redis.from_url(redis_url) as other:
        queue = PriorityQueue(waiter, FREE, lease_ms=60_000)
        queue.enqueue([Request("A")])
        queue.claim()
        answer = queue.claim(drain="d1")
        assert not isinstance(answer, Claimed)
        assert answer.hint.waiter
        woken: list[bool] = []
        thread = threading.Thread(target=lambda: woken.append(queue.wait(10)))
        thread.start()
        eventually(lambda: other.info("clients")["blocked_clients"] == 1)
        began = time.monotonic()
        assert PriorityQueue(other, FREE).enqueue([Request("B")], MEDIUM).waiting
        thread.join(timeout=10)
        assert woken == [True]
        assert time.monotonic() - began < 8


def test_the_clock_is_the_servers(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        seconds, micros = client.time()
        queue = PriorityQueue(client, FREE)
        now = queue.enqueue([Request("A")]).now_ms
        assert 0 <= now - (seconds * 1_000 + micros // 1_000) < 60_000
        score = client.zscore(queue.keys.queue, "A")
        assert score == 3 * 10**13 + now


def test_a_script_runs_no_more_commands_on_a_longer_queue(redis_url: str) -> None:
    """What they take in time is for `python -m bench.cost`."""
    counts: dict[int, dict[str, int]] = {}
    with Redis.from_url(redis_url, decode_responses=True) as client:
        queue = PriorityQueue(client, FREE, max_size=10**6)
        for size in (200, 20_000):
            client.flushall()
            fill(queue, size)
            queue.claim(drain="d")
            counts[size] = {
                "claim": _commands(client, lambda: queue.claim(drain="d")),
                "peek": _commands(client, lambda: queue.peek(5)),
                "stats": _commands(client, queue.stats),
                "next_at": _commands(client, queue.next_at),
            }
    assert all(counts[200].values())
    assert counts[200] == counts[20_000]


def _commands(client: Redis, action: Callable[[], object]) -> int:
    """How many commands the server ran for it, those of its scripts included."""
    action()  # the first time the script is sent
    client.config_resetstat()
    action()
    stats: Any = client.info("commandstats")
    ours = {name for name in stats if name not in ("cmdstat_config|resetstat", "cmdstat_info")}
    return sum(int(stats[name]["calls"]) for name in ours)


KNOWN = {
    *(
        "and",
        "break",
        "do",
        "else",
        "elseif",
        "end",
        "false",
        "for",
        "function",
        "if",
        "in",
        "local",
    ),
    *("nil", "not", "or", "repeat", "return", "then", "true", "until", "while", "KEYS", "ARGV"),
    *("redis", "cjson", "math", "string", "table", "ipairs", "pairs", "pcall", "tonumber"),
    *("tostring", "type", "unpack"),
}
SCRIPTS = sorted(p.stem for p in (Path(__file__).parents[2] / "queueing" / "lua").glob("*.lua"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_use_no_globals_and_name_keys_in_one_place(redis_url: str, name: str) -> None:
    text = source(name)
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.script_load(text)  # it compiles
    code = re.sub(r"--[^\n]*|'[^']*'", "''", text)
    declared: set[str] = set()
    for names in re.findall(r"\b(?:local|for)\s+(?!function)([\w,\s]+?)\s*(?:=|\bin\b|\n)", code):
        declared |= {word.strip() for word in names.split(",")}
    for function, parameters in re.findall(r"\bfunction\s*(\w*)\(([^)]*)\)", code):
        declared |= {function, *(word.strip() for word in parameters.split(","))}
    used = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", re.sub(r"([{,]\s*)\w+\s*=(?!=)", r"\1", code)))
    fields = {word for word in used if re.search(rf"[{{,]\s*{word}\s*=[^=]", code)}
    assert used - declared - KNOWN - fields == set()
    assert not re.search(r"^function |[^.\w]_G\b", code, re.MULTILINE)
    numbers = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", code)}
    assert numbers == set(range(1, len(keys_of(text)) + 1)), "it is given the keys that it uses"
    assert text.count("'TIME'") <= 1, "one look at the clock"
