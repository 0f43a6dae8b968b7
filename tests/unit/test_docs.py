"""The pages: links lead somewhere, prose is short and narrow, pictures are what is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import AliasChoices

from bench.pictures import PICTURES
from health.holds import WAITS
from queueing import Keys
from runtime.redis_outage import _KNOWN as REFUSALS
from settings import Settings
from tests.kit.rooms import FLOORS
from worker import retry_policy

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`(\w[\w./-]*/[\w.-]*|[\w-]+\.(?:py|toml|md|yml))`")
WORDS = 1500


def prose(page: Path) -> Iterator[str]:
    """The lines outside of code blocks."""
    inside = False
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            yield line


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make."""
    titles = (line.lstrip("#").strip().lower() for line in prose(page) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall("\n".join(prose(page))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_wraps_at_100_columns(page: Path) -> None:
    wide = [line for line in prose(page) if len(line) > 100 and "|" not in line]
    assert not wide


@pytest.mark.parametrize("page", [*ROOT.glob("docs/*.md")], ids=lambda page: page.name)
def test_a_page_is_short(page: Path) -> None:
    words = [word for word in page.read_text("utf-8").split() if re.search(r"\w", word)]
    most = (2 if page.name == "internals.md" else 1) * WORDS
    assert len(words) <= most, f"{page.name} is too long: say less, or give it a page of its own"


def test_every_key_stands_in_the_data_model() -> None:
    page = (ROOT / "docs" / "internals.md").read_text("utf-8")
    keys, prefix = Keys(), "assetq:{massive}:"
    named = [getattr(keys, name) for name, of in vars(Keys).items() if hasattr(of, "attrname")]
    short = [key.removeprefix(prefix) for key in named if str(key).startswith(prefix)]
    assert len(short) > 15
    assert not [name for name in short if f"`{name}" not in page]


def test_every_wait_and_every_refusal_of_redis_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8").lower()
    words = [*WAITS.values(), *(cause for cause, _ in REFUSALS.values())]
    assert len(words) > 15
    assert not [text for text in words if text.lower() not in page]


def test_the_table_of_failures_is_that_of_the_rules() -> None:
    page = (ROOT / "docs" / "internals.md").read_text("utf-8")
    rows = [line for line in (retry_policy.__doc__ or "").splitlines() if line.startswith("|")]
    assert len(rows) > 5
    assert "\n".join(rows) in page


def test_every_setting_stands_in_the_readme() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        known = alias.choices if isinstance(alias, AliasChoices) else [alias or name.upper()]
        assert all(str(variable) in page for variable in known), known


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_its_script_draws(name: str) -> None:
    drawn = (ROOT / "docs" / name).read_text("utf-8")
    assert drawn == PICTURES[name](), "run: python -m bench.pictures"


def test_the_table_of_the_rooms_is_the_one_that_is_enforced() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \| `(\w+)/` \| ", text, re.MULTILINE)
    told = {(len(FLOORS) - level, room) for level, floor in enumerate(FLOORS) for room in floor}
    assert {(int(floor), room) for floor, room in rows} == told


@pytest.mark.parametrize(
    "page",
    [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"],
    ids=lambda page: page.name,
)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = FILE.findall("\n".join(prose(page)))
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]
