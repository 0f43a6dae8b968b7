"""Arrivals at a provider while requests are held up on their way and clocks are wrong.

    python -m bench.arrivals --seconds 30

Eight processes ask for a permit and then call a server on loopback, which stamps each arrival.
Case A: nothing in between. B: 0 to 300 ms between permit and arrival, 1 s for one call of twenty.
C: that, and half of the processes' clocks are 1 s ahead, half 1 s behind. D: C with 5 calls per
60 s instead of per 2 s (`--long` seconds). All cases and limiters run at the same time, each with
keys of its own. A limiter that keeps its promise has no window with more arrivals than the limit,
and no span of limit + 1 arrivals that is shorter than a window.

`plain log` is the sliding log that most programs write by hand: a permit counts from its grant.
`limits` (moving window) takes part after `make peers`.
"""

import argparse
import http.client
import multiprocessing
import os
import random
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any

from redis import Redis

from bench.servers import PEERS, ROOT, server

LIMIT, PROCESSES, SEND_S = 5, 8, 2.0
Ask = Callable[[], float]
"""Waits until it is granted a permit; returns the seconds within which the call must have begun."""


@dataclass(frozen=True)
class Case:
    """One kind of adversity."""

    letter: str
    window_s: float
    delayed: bool
    skewed: bool


CASES = (
    Case("A", 2, delayed=False, skewed=False),
    Case("B", 2, delayed=True, skewed=False),
    Case("C", 2, delayed=True, skewed=True),
    Case("D", 60, delayed=True, skewed=True),
)


def assetq(url: str, case: Case) -> tuple[Ask, Callable[[], None]]:
    """Ours, as docs/quota.md tells to use it without the queue."""
    from queueing import Grant, Keys, Policy, QuotaLimiter

    policy = Policy(LIMIT, window_ms=round(case.window_s * 1000), send_ms=round(SEND_S * 1000))
    limiter = QuotaLimiter(Redis.from_url(url), policy, keys=Keys(f"bench-{case.letter}"))
    if limiter.redis.set(f"begun-{case.letter}", 1, nx=True):
        limiter.reset()  # no call went before: nothing to hold for
    granted: list[Grant] = []

    def ask() -> float:
        while not isinstance(answer := limiter.acquire(who=str(os.getpid())), Grant):
            time.sleep(max(1, answer.wait_ms or 0) / 1000)
        granted.append(answer)
        return policy.send_within_ms / 1000

    return ask, lambda: limiter.release(granted.pop())


def plain_log(url: str, case: Case) -> tuple[Ask, Callable[[], None]]:
    """A sorted set of grants, one script, the server's clock."""
    script = Redis.from_url(url).register_script("""
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
    if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[1]) then
      redis.call('ZADD', KEYS[1], now, ARGV[3])
      return 0
    end
    return redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] + ARGV[2] - now""")
    numbers = iter(range(10**9))

    def ask() -> float:
        name = f"{os.getpid()}:{next(numbers)}"
        arguments: list[int | str] = [LIMIT, round(case.window_s * 1000), name]
        while wait_ms := float(script(keys=[f"log-{case.letter}"], args=arguments)):
            time.sleep(max(0.001, wait_ms / 1000))
        return float("inf")

    return ask, lambda: None


def moving_window(url: str, case: Case) -> tuple[Ask, Callable[[], None]]:
    """The package `limits`."""
    limits: Any = import_module("limits")

    item = limits.RateLimitItemPerSecond(LIMIT, round(case.window_s))
    limiter = limits.strategies.MovingWindowRateLimiter(limits.storage.RedisStorage(f"{url[:-1]}1"))

    def ask() -> float:
        while not limiter.hit(item, case.letter):
            until = limiter.get_window_stats(item, case.letter).reset_time
            time.sleep(min(max(0.001, until - time.time()), case.window_s))
        return float("inf")

    return ask, lambda: None


BY_NAME = {"assetq": assetq, "plain log": plain_log, "limits": moving_window}


class Provider:
    """Stamps arrivals, by the path that they ask for."""

    def __init__(self) -> None:
        self.stamps: dict[str, list[float]] = {}
        stamps = self.stamps

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stamps.setdefault(self.path, []).append(time.monotonic())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


def call(port: int, path: str) -> None:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    connection.getresponse().read()
    connection.close()


def caller(name: str, url: str, port: int, case: Case, number: int, seconds: float) -> None:
    """One process of one case, until the time is over."""
    die, real = random.Random(number), time.time
    if case.skewed:
        skew = 1.0 if number % 2 else -1.0
        time.time = lambda: real() + skew
    ask, answered = BY_NAME[name](url, case)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        within_s = ask()
        granted = time.monotonic()
        if case.delayed:
            time.sleep(1.0 if die.random() < 0.05 else die.uniform(0, 0.3))
        if time.monotonic() - granted < within_s and granted < ends:
            call(port, f"/{name.replace(' ', '-')}/{case.letter}")
            answered()


def run(names: list[str], url: str, port: int, seconds: float, long_s: float) -> None:
    """All processes of these limiters."""
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(
            target=caller, daemon=True,
            args=(name, url, port, case, n, long_s if case.window_s > 2 else seconds),
        )
        for name in names for case in CASES for n in range(PROCESSES)
    ]  # fmt: skip
    for process in processes:
        process.start()
    time.sleep(max(seconds, long_s))
    for process in processes:
        process.kill()


@contextmanager
def peers(url: str, port: int, seconds: float, long_s: float) -> Iterator[None]:
    """The limiters of `make peers` run beside, if they are installed."""
    python = PEERS / "bin/python"
    if not python.exists():
        yield
        return
    options = ["--seconds", str(seconds), "--long", str(long_s)]
    process = subprocess.Popen(
        [python, "-m", "bench.arrivals", "--peer", url, str(port), *options],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        yield
        process.wait(30)
    finally:
        process.kill()


def told(times: list[float], case: Case) -> str:
    """worst / windows above the limit / tightest span / share of what the limit allows."""
    from tests.chaos.soak import judge

    worst, violations, tightest = judge(times, LIMIT, case.window_s)
    spans = [b - a for a, b in zip(times, times[LIMIT:], strict=False)]
    used = case.window_s / statistics.mean(spans) if spans else 0
    return f"{worst} / {violations} / {tightest:.3f} / {used:.2f}"


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--long", type=float, default=300)
    parser.add_argument("--peer", nargs=2, metavar=("URL", "PORT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        url, port = arguments.peer
        run(["limits"], url, int(port), arguments.seconds, arguments.long)
        return
    provider = Provider()
    lengths = arguments.seconds, arguments.long
    with server() as url, peers(url, provider.port, *lengths):
        run(["assetq", "plain log"], url, provider.port, *lengths)
    heads = [f"{case.letter} ({LIMIT} per {case.window_s:g} s)" for case in CASES]
    print(
        "Most arrivals in a window / arrivals too many / shortest span of six, in windows / use\n"
    )
    print(f"| limiter | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|")
    for name in BY_NAME:
        paths = [f"/{name.replace(' ', '-')}/{case.letter}" for case in CASES]
        if any(path in provider.stamps for path in paths):
            cells = [
                told(sorted(provider.stamps.get(path, [])), case)
                for path, case in zip(paths, CASES, strict=True)
            ]
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
