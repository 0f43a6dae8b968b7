"""The freshness of all assets, kept ready: a page must not cost more where there are more assets.

A request takes the last view; one that is older than a moment is made anew in a thread meanwhile.
"""

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import structlog
from redis import RedisError

from db.latest import LatestPrice, latest_prices
from health.facts import Facts
from health.freshness import Freshness, FreshnessRow, freshness, supplies
from health.observe import Observer
from web.database import Away, Database
from worker.capabilities import Capabilities

log = structlog.get_logger(__name__)

VIEW_S = 1.0
"""How long a view is shown before a new one is made."""
OLDEST_S = 10.0
"""A view that is older is not shown: the request waits for a new one."""
PRICES_S = 10.0
"""How long prices are believed that no event has changed: others write to the table too."""
WATCHED_S = 60.0
"""How long after the last request events still change the view."""


@dataclass(frozen=True)
class View:
    """All rows, the worst first, as of an instant (ms of Redis' clock)."""

    rows: list[FreshnessRow]
    by_symbol: Mapping[str, FreshnessRow]
    counts: Mapping[Freshness, int]
    at_ms: int

    @classmethod
    def of(cls, rows: list[FreshnessRow], at_ms: int) -> "View":
        """Count the rows."""
        counts = Counter(row.state for row in rows)
        return cls(rows, {row.symbol: row for row in rows}, counts, at_ms)


class Board:
    """Keeps the view of one process; its threads share it."""

    def __init__(self, observer: Observer, database: Database) -> None:
        self._observer, self._database = observer, database
        self._capabilities = Capabilities(observer.context)
        self._making = threading.Lock()
        self._prices: dict[str, LatestPrice] = {}
        self._prices_at = self._made_at = self._asked_at = float("-inf")
        self._view: View | None = None

    def view(self, facts: Facts) -> View:
        """Return the rows. Raises Away, RedisError where there is nothing to show."""
        now = self._asked_at = time.monotonic()
        view, age = self._view, now - self._made_at
        if view is None or age > OLDEST_S:
            with self._making:
                if self._view is None or time.monotonic() - self._made_at > VIEW_S:
                    self._make(facts, PRICES_S)
                assert self._view is not None
                return self._view
        if age > VIEW_S and not self._making.locked():
            threading.Thread(target=self._make_soon, args=(facts,), daemon=True).start()
        return view

    def view_now(self, facts: Facts) -> View:
        """Return the rows as they are now, read anew. Raises as `view` does."""
        with self._making:
            self._make(facts, 0.0)
            assert self._view is not None
            return self._view

    def changed(self, symbols: Collection[str]) -> None:
        """Read these assets anew, if somebody looks; their events have just come."""
        if self._view is None or time.monotonic() - self._asked_at > WATCHED_S:
            return
        try:
            with self._making, self._database.connection() as connection:
                self._prices |= _by_symbol(latest_prices(connection, list(symbols)))
                self._show(*self._failing_and_dead())
        except (Away, RedisError) as error:
            log.info("board.stale", error=type(error).__name__)

    def forget(self) -> None:
        """Make the next view from nothing: something was changed by hand."""
        with self._making:  # one that is being made may have read what was before
            self._prices_at = self._made_at = float("-inf")

    def _make_soon(self, facts: Facts) -> None:
        if not self._making.acquire(blocking=False):
            return
        try:
            self._make(facts, PRICES_S)
        except (Away, RedisError) as error:
            log.info("board.stale", error=type(error).__name__)
        finally:
            self._making.release()

    def _make(self, facts: Facts, prices_s: float) -> None:
        """`prices_s`: how old the prices may be."""
        if time.monotonic() - self._prices_at > prices_s:
            with self._database.connection(facts.database) as connection:
                self._prices = _by_symbol(latest_prices(connection))
            self._prices_at = time.monotonic()
        if facts.state is None:
            raise Away(str(facts.redis))
        state = facts.state
        self._show([f.symbol for f in state.failing], [x.symbol for x in state.dead])

    def _failing_and_dead(self) -> tuple[list[str], list[str]]:
        assert self._view is not None
        rows = self._view.rows
        failing = [row.symbol for row in rows if row.state is Freshness.FAILING]
        return failing, [row.symbol for row in rows if row.state is Freshness.DEAD]

    def _show(self, failing: Iterable[str], dead: Iterable[str]) -> None:
        """Make the view of what is known."""
        context = self._observer.context
        self._capabilities.refused()
        now_ms = context.redis_now_ms()
        rows = freshness(
            self._prices.values(),
            context.settings,
            supplies(self._capabilities, now_ms),
            now_ms,
            failing=set(failing),
            dead=set(dead),
        )
        self._view, self._made_at = View.of(rows, now_ms), time.monotonic()


def _by_symbol(found: Iterable[LatestPrice]) -> dict[str, LatestPrice]:
    return {asset.symbol: asset for asset in found}
