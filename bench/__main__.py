"""`make bench`: runs the measurements that need minutes, and writes docs/benchmarks.md.

    python -m bench                        # all of them, about ten minutes
    python -m bench --only queues cost     # these, to the terminal

Each one is a module of its own and prints a table; nothing in the page is written by hand but the
sentences above the tables, which stand here.
"""

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from bench.servers import PEERS, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Measurement:
    """A module of bench/, how it is called, and what its table shows."""

    name: str
    options: str
    title: str
    text: str

    @property
    def command(self) -> str:
        """As one would type it."""
        return f"python -m bench.{self.name} {self.options}".strip()


MEASUREMENTS = (
    Measurement(
        "arrivals",
        "--seconds 30 --long 150",
        "Arrivals at the provider",
        "Five calls per window, eight processes. A: nothing on the way. B: up to 1 s between\n"
        "permit and arrival. C: that, and clocks that are wrong by a second. D: the real window.\n"
        "A limiter that counts grants instead of arrivals cannot keep the promise.",
    ),
    Measurement(
        "queues",
        "--rounds 3",
        "Queues side by side",
        "Jobs that do nothing, two workers. `Lua floor` is the least that deduplication, order,\n"
        "payload and lease need, in one script a step, without quota, retries or wake-up.\n"
        "huey has neither lease nor deduplication.\n\n"
        "What assetq is behind the floor is Redis' own time: 24 µs for an enqueue and 5 for the\n"
        "floor's, 68 for an end that claims the next item and 8 for the floor's two scripts. It\n"
        "goes into the promises: quota, breaker, bands and aging, leases that come back, wake-up,\n"
        "a clock that steps ([what a script costs](internals.md#what-a-script-costs)).",
    ),
    Measurement(
        "decisions",
        "",
        "What a decision of the limiter costs",
        "In costs of `hold floor`, the smallest script that keeps a permit until its answer and a\n"
        "window more: no batch, no breaker, no lost Redis. Each of these is a look of its own, of\n"
        "1 to 5 µs, in the same round trip; whether the server still is the same costs most.",
    ),
    Measurement(
        "cost",
        "",
        "A million items beside a thousand",
        "Two queues take turns on one server.",
    ),
    Measurement(
        "commands",
        "--workers 2 8 --window 2 --seconds 15",
        "Redis commands per granted call",
        "Real workers that wait for the same quota. At most one of them waits in place, so the\n"
        "number does not grow with the workers.",
    ),
    Measurement(
        "writes",
        "",
        "Bars into PostgreSQL",
        "`assetq` is the whole write of one call: lock, bars, coverage, status, audit row. Each\n"
        "figure is looked at first, so that one bad bar costs itself alone. Columns go as arrays,\n"
        "which need no right to make temporary tables. A call brings 10,000 bars at most.",
    ),
    Measurement(
        "pipeline",
        "--assets 5000",
        "Five thousand assets, from the queue to the table",
        "A plan without a limit, a provider that answers after 20 ms, two workers.",
    ),
    Measurement(
        "startup",
        "",
        "Starting",
        "Whole processes that import and end. Beyond RQ's, `assetq worker` imports pydantic and\n"
        "its settings, a third of the difference, rich (structlog takes it where it is\n"
        "installed), YAML, and a hundred modules of its own. A worker pays once: jobs are forks.",
    ),
    Measurement(
        "reservation",
        "--hours 8",
        "Calls kept free for the batch",
        "Eight simulated hours with the real scripts.",
    ),
)


def machine() -> str:
    """What the tables were measured on."""
    packages = ("redis", "rq", "psycopg", "click")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    if (PEERS / "bin/pip").exists():
        listed = subprocess.run(
            [PEERS / "bin/pip", "list", "--format", "freeze", "--disable-pip-version-check"],
            stdout=subprocess.PIPE, text=True, check=True,
        ).stdout.split()  # fmt: skip
        peers = [line.replace("==", " ") for line in listed if line.startswith(("huey", "limits"))]
        versions += [f"{peer} (peer)" for peer in peers]
    load = os.getloadavg()[0]
    return textwrap.fill(
        f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), load {load:.1f} at "
        f"the start; Python {platform.python_version()}, {', '.join(versions)}.",
        width=100,
    )


def measured(measurement: Measurement) -> str:
    """Its section of the page; raises CalledProcessError."""
    words = [sys.executable, "-m", f"bench.{measurement.name}", *measurement.options.split()]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    heading = f"## {measurement.title}\n\n`{measurement.command}`\n\n{measurement.text}"
    return f"{heading}\n\n{done.stdout.strip()}\n"


def page(chosen: list[Measurement]) -> str:
    """The whole page; tells its progress on stderr."""
    started, head = time.monotonic(), machine()
    sections = []
    for number, measurement in enumerate(chosen, 1):
        print(f"{number} of {len(chosen)}: {measurement.command}", file=sys.stderr, flush=True)
        sections.append(measured(measurement))
    minutes = (time.monotonic() - started) / 60
    return (
        "# Benchmarks\n\n"
        f"Made by `make bench` on {time.strftime('%Y-%m-%d', time.gmtime())} in {minutes:.0f} "
        "minutes; never edited. All that a table\ncompares ran side by side in one run, taking "
        "turns: read the ratios, not the absolute figures.\nNumbers in brackets are the least and "
        f"the most of the rounds.\n\n{head}\n\n" + "\n".join(sections)
    )


def main() -> None:
    """Writes docs/benchmarks.md, or prints what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [measurement.name for measurement in MEASUREMENTS]
    parser.add_argument("--only", nargs="+", choices=names)
    parser.add_argument("--to", type=Path, default=PAGE)
    arguments = parser.parse_args()
    chosen = [m for m in MEASUREMENTS if m.name in (arguments.only or names)]
    text = page(chosen)
    if arguments.only:
        print(text)
    else:
        arguments.to.write_text(text)
        print(f"written: {arguments.to}", file=sys.stderr)


if __name__ == "__main__":
    main()
