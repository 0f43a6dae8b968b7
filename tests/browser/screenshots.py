"""Takes the screenshots of docs/pages.md and README: `make screenshots` (three minutes).

python -m tests.browser.screenshots docs          # those that the documents show
python -m tests.browser.screenshots /tmp --all    # each page, three widths, both themes
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, FloatRect, sync_playwright

from db.connection import connect
from db.symbols import SymbolRepository
from queueing import Priority
from tests.browser.finding import find_chromium
from tests.browser.past import tell_a_past
from tests.browser.running import PASSWORD, RunningSite, running_site
from tests.kit.waiting import eventually
from worker.work import bars_request, price_request

ROOT = Path(__file__).resolve().parents[2]
PATHS = ("", "freshness", "asset?symbol=EURUSD&range=1w", "quota", "health")
TALLEST = 2400


@dataclass(frozen=True)
class Shot:
    """One picture of a page."""

    name: str
    path: str
    width: int
    height: int | None = None
    """None: the whole page, at most TALLEST."""
    theme: Literal["light", "dark"] = "light"


SHOWN = (
    Shot("page-now", "", 1280, 900),
    Shot("page-freshness", "freshness", 1280, 800, "dark"),
    Shot("page-phone", "freshness", 390, 760),
    Shot("page-asset", "asset?symbol=EURUSD&range=1w", 1280, 1000),
    Shot("page-quota", "quota", 1280, 900),
    Shot("page-health", "health", 1280, 900),
)


def every() -> Iterator[Shot]:
    """Each page at three widths in both themes."""
    themes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for path in PATHS:
        for width in (360, 800, 1600):
            for theme in themes:
                name = path.partition("?")[0] or "now"
                yield Shot(f"{name}-{width}-{theme}", path, width, None, theme)


def take(browser: Browser, site: RunningSite, shot: Shot, folder: Path) -> None:
    """Write the picture as PNG."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height or 900},
        color_scheme=shot.theme,
        http_credentials={"username": "admin", "password": PASSWORD},
    )
    page = context.new_page()
    page.goto(site.url + shot.path)
    page.wait_for_selector("#link.is-live")
    tall = page.evaluate("document.documentElement.scrollHeight")
    height = shot.height or min(tall, TALLEST)
    clip: FloatRect = {"x": 0, "y": 0, "width": shot.width, "height": height}
    path = folder / f"{shot.name}.png"
    page.screenshot(path=path, full_page=True, clip=clip)
    context.close()
    print(f"{path}: {path.stat().st_size // 1024} kB, the page is {tall} px tall")


def before_a_batch(site: RunningSite) -> None:
    """Wait for a moment that shows much: some calls count, others are kept, and more wait."""

    with connect(site.settings.database_url) as connection:
        assets = SymbolRepository(connection).list()
    pictured = next(asset for asset in assets if asset.symbol == "EURUSD")

    def fresh() -> int:
        return site.get("freshness?state=fresh").text.count('<tr id="a-')

    def whole_days() -> int:
        site.context.queue.enqueue([bars_request(pictured)], Priority.HIGH)
        return site.get("asset?symbol=EURUSD").text.count('class="day-complete"')

    eventually(lambda: fresh() >= 50, 60, every_s=0.5, what="most assets are fresh")
    eventually(lambda: whole_days() >= 70, 120, every_s=1, what="the bars of 91 days are stored")
    site.go_on_with(
        tell_a_past, polygon_rate_limit=5, rate_min_spacing_seconds=8, batch_interval_minutes=2
    )
    for band in (Priority.HIGH, Priority.MEDIUM, Priority.LOW):
        chosen = [asset for asset in assets if asset.priority == band][:6]
        site.context.queue.enqueue(map(price_request, chosen), band)

    def soon() -> bool:
        quota = site.context.limiter.status()
        left_ms = quota.batch_at_ms - quota.now_ms
        return 2 <= quota.in_use < 5 and quota.batch_calls > 0 and 15_000 < left_ms < 55_000

    eventually(soon, 240, every_s=0.2, what="a batch is near, and calls are kept for it")


def main() -> None:
    """Takes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true")
    asked = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        sys.exit("there is no Chromium: install Debian's `chromium`, or set CHROMIUM=/path")
    with (
        tempfile.TemporaryDirectory() as tmp,
        sync_playwright() as playwright,
        running_site(ROOT, Path(tmp), limit=1200, history_days=91) as site,
    ):
        before_a_batch(site)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        blocked = False
        for shot in every() if asked.all else SHOWN:
            if shot.path == "health" and not blocked:
                site.post("actions/block", minutes="15")
                blocked = True
            take(browser, site, shot, asked.folder)
        browser.close()


if __name__ == "__main__":
    main()
