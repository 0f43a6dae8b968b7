"""Weeks in minutes: outages, restarts, holidays and repairs under a moved clock.

    python -m tests.proofs                     # every story, with all assets of the catalogue
    python -m tests.proofs outage --assets 5   # one of them, in seconds

Exit code 1 tells that a series has a hole, a day was called complete that was not, or too many
calls were made.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import structlog

from tests.chaos.clock import why_not
from tests.kit.truth import mixed_assets
from tests.proofs.days import Days
from tests.proofs.servers import Servers, own_clock, run_on_a_clock_of_its_own
from tests.proofs.stories import STORIES, Story

FREE_CALLS = 30
"""A day's calls on the free plan beside one for each asset."""


def tell(servers: Servers, name: str, story: Story, count: int) -> list[str]:
    """Live through a story; what is wrong at its end."""
    began_s = time.monotonic()
    with Days.begin(servers, story.begins, mixed_assets(count), plan=story.plan) as days:
        newest = story.live(days)
        wrong = days.differences(newest=newest)
        calls = days.calls_by_day()
        if story.plan == "free":
            wrong += too_many(calls, story, count)
            if (worst := days.worst_window(before=story.counted_to)) > 5:
                wrong.append(f"{worst} calls in one minute")
    print(f"{name}: {'; '.join(wrong[:8]) or 'kept'}", flush=True)
    print(f"  calls a day: {[calls[day] for day in sorted(calls)]}", flush=True)
    print(f"  {time.monotonic() - began_s:.0f} s", flush=True)
    return wrong


def too_many(calls: Mapping[date, int], story: Story, assets: int) -> list[str]:
    """The days on which the free plan's calls exceed one for each asset and `FREE_CALLS`."""
    counted = [
        day
        for day in sorted(calls)
        if story.begins.date() < day and (story.counted_to is None or day <= story.counted_to)
    ]
    most = assets + FREE_CALLS
    return [f"{calls[day]} calls on {day}" for day in counted if calls[day] > most]


def main() -> int:
    """1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stories", nargs="*", choices=[*STORIES, []], metavar="STORY")
    parser.add_argument("--assets", type=int, default=95)
    arguments = parser.parse_args()
    if why := why_not():
        print(f"skipped: {why}")
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="assetq-days-") as folder:
        Path(folder).chmod(0o755)
        if (clock := own_clock()) is None:
            return run_on_a_clock_of_its_own(Path(folder))
        with Servers.start(Path(folder), clock) as servers:
            wrong = [
                what
                for name in arguments.stories or STORIES
                for what in tell(servers, name, STORIES[name], arguments.assets)
            ]
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
