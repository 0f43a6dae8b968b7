"""Draws how many arrivals the last window held, over time: one or more runs, as SVG.

python -m tests.chaos.soak --arrivals ours.json
python -m tests.chaos.soak --limiter naive --arrivals naive.json
python -m bench.plot assetq=ours.json naive=naive.json > docs/arrivals.svg
"""

import argparse
import bisect
import itertools
import json
from pathlib import Path

WIDTH, HEIGHT, LEFT, GAP = 900, 130, 150, 34


def steps(times: list[float], window: float) -> list[tuple[float, int]]:
    """(second, arrivals within the window that ends there) wherever it changes."""
    moments = sorted({*times, *(t + window for t in times)})
    return [
        (m, bisect.bisect_right(times, m) - bisect.bisect_right(times, m - window)) for m in moments
    ]


def panel(name: str, times: list[float], row: int, options: argparse.Namespace) -> str:
    """One run as a filled step line, red where the limit is exceeded."""
    start = min(times)
    times = sorted(t - start for t in times if t - start <= options.span)
    top = GAP + row * (HEIGHT + GAP)
    highest = options.limit + 3

    def x(second: float) -> float:
        return LEFT + second / float(options.span) * (WIDTH - LEFT - 20)

    def y(number: float) -> float:
        return top + HEIGHT - number / float(highest) * HEIGHT

    parts = []
    series = [*steps(times, options.window), (options.span, 0)]
    for (at, number), (until, _) in itertools.pairwise(series):
        if number and at < options.span:
            color = "#c62828" if number > options.limit else "#4a7fb5"
            parts.append(
                f'<rect x="{x(at):.1f}" y="{y(number):.1f}" '
                f'width="{x(min(until, options.span)) - x(at):.1f}" '
                f'height="{y(0) - y(number):.1f}" fill="{color}"/>'
            )
    limit = y(options.limit)
    parts.append(
        f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{limit}" y2="{limit}" '
        'stroke="#222" stroke-dasharray="5 4"/>'
        f'<text x="{LEFT - 8}" y="{limit + 4}" text-anchor="end">limit {options.limit}</text>'
        f'<text x="{LEFT - 8}" y="{y(0) + 4}" text-anchor="end">0</text>'
        f'<text x="10" y="{top + HEIGHT / 2}" font-weight="bold">{name}</text>'
    )
    return "".join(parts)


def main() -> None:
    """Writes the SVG to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=float, default=4.0)
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--span", type=float, default=60.0, help="seconds to show")
    parser.add_argument("runs", nargs="+", help="NAME=FILE")
    options = parser.parse_args()
    panels = []
    for row, run in enumerate(options.runs):
        name, _, path = run.partition("=")
        panels.append(panel(name, json.loads(Path(path).read_text()), row, options))
    height = GAP + len(panels) * (HEIGHT + GAP) + 10
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        f'<text x="{LEFT}" y="20">arrivals at the provider within the last {options.window:g} s, '
        f"over {options.span:g} s</text>{''.join(panels)}</svg>"
    )


if __name__ == "__main__":
    main()
