"""What only one module may know: the names of feeds, and the shape of a payload."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from market.feeds import FEEDS

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("queueing", "db", "settings", "runtime", "worker", "scheduler", "health", "web", "cli")
NAMES = "|".join(re.escape(feed.name) for feed in FEEDS)


def hits(pattern: str, *, but: str = "") -> list[str]:
    """The lines of the program, outside market/ and the sandbox, in which the pattern occurs."""
    return [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if str(path.relative_to(ROOT)) != but
        for line in path.read_text("utf-8").splitlines()
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        rf"""["']({NAMES})["']""",
        r"""startswith\(["']snapshot""",
        r"\b_?(FEEDS|feeds)\[",
    ],
)
def test_no_feed_is_named_outside_market(pattern: str) -> None:
    assert hits(pattern) == []


@pytest.mark.parametrize("pattern", ["/5m", r"payload\[", r"payload\.get"])
def test_the_shape_of_a_payload_is_known_to_one_module(pattern: str) -> None:
    assert hits(pattern, but="worker/work.py") == []
