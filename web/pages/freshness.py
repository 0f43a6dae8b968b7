"""GET /freshness: one row per asset, the worst first, with what its next refresh waits for."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Response, request

from health.freshness import Freshness, FreshnessRow
from market.tickers import AssetKind, bare
from web.board import View
from web.database import Away
from web.pages.upcoming import Upcoming, upcoming
from web.site import render, site

PAGE = 50
SORTS = ("over", "symbol", "age", "target")


@dataclass(frozen=True)
class Selection:
    """What the address asks for; anything odd in it counts as not asked for."""

    text: str = ""
    state: str = ""
    market: str = ""
    sort: str = "over"
    page: int = 1

    @classmethod
    def of_request(cls) -> "Selection":
        """Read the present address."""
        asked = request.args
        state, market, sort = (asked.get(name, "") for name in ("state", "market", "sort"))
        page = asked.get("page", "1")
        return cls(
            text=asked.get("q", "").strip()[:40],
            state=state if state in list(Freshness) else "",
            market=market if market in list(AssetKind) else "",
            sort=sort if sort in SORTS else "over",
            page=min(int(page), 10**6) if page.isascii() and page.isdigit() and int(page) else 1,
        )

    def of(self, rows: Sequence[FreshnessRow]) -> list[FreshnessRow]:
        """Return the rows that are asked for, in their order."""
        found = list(rows)
        if self.state:
            found = [row for row in found if row.state == self.state]
        if self.market:
            found = [row for row in found if row.kind == self.market]
        if self.text:
            wanted, name = bare(self.text), self.text.lower()
            found = [
                row
                for row in found
                if (wanted and wanted in row.symbol) or name in (row.name or "").lower()
            ]
        return self._sorted(found)

    def _sorted(self, rows: list[FreshnessRow]) -> list[FreshnessRow]:
        match self.sort:
            case "symbol":
                return sorted(rows, key=lambda row: row.symbol)
            case "age":
                return sorted(rows, key=lambda row: row.fetched_at_ms or 0)
            case "target":
                return sorted(rows, key=lambda row: (row.target_s, row.symbol))
        return rows


def show() -> Response:
    """Answer with the page."""
    here = site()
    facts = here.observer.look()
    selection = Selection.of_request()
    try:
        view: View | None = here.board.view(facts)
        away = None
    except Away as error:
        view, away = None, str(error)
    rows = selection.of(view.rows) if view else []
    pages = max(1, -(-len(rows) // PAGE))
    page = min(selection.page, pages)
    shown = rows[(page - 1) * PAGE : page * PAGE]
    following: dict[str, Upcoming] = upcoming(here.observer.context, facts, shown)
    return render(
        "freshness.html",
        "Freshness",
        facts,
        view=view,
        away=away,
        rows=shown,
        following=following,
        selection=selection,
        found=len(rows),
        page=page,
        page_count=pages,
        first=(page - 1) * PAGE + 1,
    )
