"""Queues side by side: enqueue, memory, throughput and the time to start a job.

    python -m bench.queues --rounds 3

All contestants run in one go on one server, round by round, so that what else the machine does
strikes all of them alike. Compare within a run only.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from bench.contestants import BY_NAME, RECORD
from bench.servers import PEERS, ROOT, server

WORKERS = 2
SINGLE, BULK, FILL, PACED = 2_000, 10_000, 20_000, 150
SLOW = {"rq worker": 200, "rq SimpleWorker": 2_000}
"""Jobs of a throughput round; 5,000 for all others."""
RAMP = 0.1
"""The share of jobs that is dropped: workers are still starting."""


@dataclass
class Found:
    """What was measured of one contestant, a value a round."""

    name: str
    single: list[float] = field(default_factory=list)
    bulk: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    starts_ms: list[float] = field(default_factory=list)
    bytes_an_item: float = 0.0


class Site:
    """One contestant's processes on one server."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        self.name = name
        self.trace = folder / "trace"
        python = PEERS / "bin/python" if name == "huey" else Path(sys.executable)
        self._command = [str(python), "-m", "bench.contestants", name]
        self._env = os.environ | {
            "BENCH_REDIS_URL": url,
            "BENCH_TRACE": str(self.trace),
            "PYTHONPATH": str(ROOT),
        }

    def produce(self, mode: str, count: int) -> float:
        """Enqueues in a process of its own; jobs per second."""
        done = subprocess.run(
            [*self._command, mode, str(count)],
            env=self._env, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=300,
        )  # fmt: skip
        return count / float(done.stdout.split()[-1])

    @contextmanager
    def workers(self) -> Iterator[None]:
        """Two worker processes, ended with all that they started."""
        self.trace.unlink(missing_ok=True)
        null = subprocess.DEVNULL
        started = [
            subprocess.Popen(
                [*self._command, "work"],
                env=self._env, cwd=ROOT, stdout=null, stderr=null, start_new_session=True,
            )
            for _ in range(WORKERS)
        ]  # fmt: skip
        try:
            yield
        finally:
            for process in started:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def begun(self) -> list[tuple[int, int]]:
        """(asked, began) of each job so far, in ns."""
        data = self.trace.read_bytes() if self.trace.exists() else b""
        whole = data[: len(data) // RECORD.size * RECORD.size]
        return list(RECORD.iter_unpack(whole))

    def rate(self, count: int, limit_s: float = 10.0) -> float:
        """Works the queue off; jobs per second once the workers are up."""
        with self.workers():
            ends_at = time.monotonic() + 30
            seen = 0
            while time.monotonic() < ends_at and seen < count:
                if not seen and (seen := len(self.begun())):
                    ends_at = time.monotonic() + limit_s
                time.sleep(0.05)
                seen = len(self.begun())
        starts = sorted(began for _, began in self.begun())
        starts = starts[int(len(starts) * RAMP) :]
        return (len(starts) - 1) / ((starts[-1] - starts[0]) / 1e9) if len(starts) > 2 else 0.0


def measure_round(site: Site, redis: Redis, found: Found) -> None:
    """Enqueues one by one and in bulk, and works off what was enqueued."""
    redis.flushall()
    found.single.append(site.produce("one", SINGLE))
    if site.name != "huey":  # has no bulk call
        found.bulk.append(site.produce("bulk", BULK))
    redis.flushall()
    count = SLOW.get(site.name, 5_000)
    site.produce("bulk", count)
    found.rates.append(site.rate(count))


def used(redis: Redis) -> int:
    """Bytes that the server's data take."""
    info: Any = redis.info("memory")
    return int(info["used_memory"])


def measure_once(site: Site, redis: Redis, found: Found) -> None:
    """Memory of a job that waits, and the time from the request to the job on idle workers."""
    redis.flushall()
    site.produce("one", 1)
    before = used(redis)
    site.produce("bulk", FILL)
    found.bytes_an_item = (used(redis) - before) / FILL
    redis.flushall()
    with site.workers():
        time.sleep(3)
        site.produce("paced", PACED)
        time.sleep(1)
    found.starts_ms = [(began - asked) / 1e6 for asked, began in site.begun() if asked]


def available() -> list[str]:
    """The contestants that this machine can run."""
    return [name for name in BY_NAME if name != "huey" or (PEERS / "bin/huey_consumer").exists()]


def compare(names: Sequence[str], rounds: int) -> list[Found]:
    """Everything, in one run."""
    found = {name: Found(name) for name in names}
    with server() as url, tempfile.TemporaryDirectory() as folder, Redis.from_url(url) as redis:
        sites = [Site(name, url, Path(folder)) for name in names]
        for number in range(rounds):
            for site in sites if number % 2 == 0 else reversed(sites):
                measure_round(site, redis, found[site.name])
        for site in sites:
            measure_once(site, redis, found[site.name])
        shutil.rmtree(folder, ignore_errors=True)
    return list(found.values())


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median, with least and most."""
    if not values:
        return "–"
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({least:{form}}–{most:{form}})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def table(rows: Sequence[Found]) -> str:
    """Markdown."""
    lines = [
        "| queue | enqueue/s | bulk enqueue/s | bytes an item | items/s, two workers "
        "| start p50 | start p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        p50, p99 = (percentile(row.starts_ms, q) for q in (0.5, 0.99))
        lines.append(
            f"| {row.name} | {spread(row.single)} | {spread(row.bulk)} | {row.bytes_an_item:,.0f} "
            f"| {spread(row.rates)} | {p50:.1f} ms | {p99:.1f} ms |"
        )
    return "\n".join(lines)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=available())
    arguments = parser.parse_args()
    print(table(compare(arguments.only, arguments.rounds)))


if __name__ == "__main__":
    main()
