"""How long processes take to start, beside the libraries that they cannot do without.

    python -m bench.startup --rounds 15

Each line is the median of whole processes that import, say their help, and end; lines take turns.
"""

import argparse
import statistics
import subprocess
import sys
import time

from bench.servers import ROOT

HELP = "import sys; sys.argv[1:] = ['--help']; "
CLICK = """
import click
@click.group()
def main(): pass
@main.command()
def one(): pass
main()"""
LINES = {
    "`click` alone, `--help`": HELP + CLICK,
    "`assetq --help`": HELP + "from cli.__main__ import main; main()",
    "`rq`, `psycopg` and `requests`": "import rq, rq.cli, psycopg, requests",
    "all that `assetq worker` imports": "import rq.cli, worker.rq_classes, worker.tasks",
}
PAIRS = ((1, 0), (3, 2))
"""(ours, the least) by their place above."""


def seconds(code: str) -> float:
    """One process."""
    start = time.perf_counter()
    null = subprocess.DEVNULL
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=null, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {name: [] for name in LINES}
    for _ in range(rounds):
        for name, code in LINES.items():
            found[name].append(seconds(code))
    ms = [statistics.median(found[name]) * 1000 for name in LINES]
    ratios = {ours: f"{ms[ours] / ms[least]:.2f}" for ours, least in PAIRS}
    print("| process | time | of the least |\n|---|---|---|")
    for at, name in enumerate(LINES):
        print(f"| {name} | {ms[at]:.0f} ms | {ratios.get(at, '–')} |")


if __name__ == "__main__":
    main()
