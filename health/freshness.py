"""How fresh each asset's price is against its target: one row per asset, and one word for it.

What the plan can give is found once per kind of market, so that a row costs a few comparisons.
The functions are pure but for `supplies`, which reads what the provider's answers taught.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from db.latest import LatestPrice
from market.errors import InvalidTicker
from market.freshness import CLOSE_SLACK, newest_allowed_day
from market.hours import is_open, last_close, last_open, sessions_on
from market.quotes import Delay
from market.tickers import AssetKind, asset_kind, market_of
from settings import Settings
from worker.capabilities import Capabilities
from worker.critical import is_critical
from worker.selection import utc_from_ms

SLACK = 1.2
"""A price is late when it is older than this multiple of its target: a round takes its time."""
STALE = 2.0
"""A price is stale when it is older than this multiple of its target."""
_SAMPLES = {AssetKind.FOREX: "C:EURUSD", AssetKind.METAL: "C:XAUUSD", AssetKind.CRYPTO: "X:BTCUSD"}


class Freshness(StrEnum):
    """How an asset's price stands; the worst first."""

    DEAD = "dead"
    """Its refresh was given up: a dead letter."""
    FAILING = "failing"
    """Its refresh failed and waits for the next attempt."""
    NEVER = "never"
    """No price has ever been stored."""
    STALE = "stale"
    """Older than twice its target."""
    LATE = "late"
    """Older than its target."""
    FRESH = "fresh"
    """Within its target, or the newest that the plan can give."""
    PENDING = "pending"
    """The provider has not published the newest day; the day before is stored."""
    CLOSED = "closed"
    """The market is closed and its last price is stored."""
    PAUSED = "paused"
    """Switched off: no round asks for it."""


@dataclass(frozen=True)
class Supply:
    """What the plan can give of one kind of market at an instant; instants in ms."""

    delay: Delay
    market_open: bool
    newer_since_ms: int = 0
    """Since when something newer than an older price can be had."""
    newest_as_of_ms: int | None = None
    """A price as of then or later is the newest that can be had; None: there is always a newer."""
    newest_fetched_ms: int | None = None
    """The same, told from when a price was fetched."""
    unpublished_until_ms: int = 0
    """Until when the newest day is not asked for, as it is not published; 0: it is."""

    def is_newest(self, asset: LatestPrice) -> bool:
        """True if no call can bring anything newer than what is stored."""
        if self.newest_as_of_ms is None or asset.as_of_ms is None:
            return False
        if asset.as_of_ms >= self.newest_as_of_ms:
            return True
        fetched_ms = asset.fetched_at_ms
        since_ms = self.newest_fetched_ms
        return since_ms is not None and fetched_ms is not None and fetched_ms >= since_ms


@dataclass(frozen=True, slots=True)
class FreshnessRow:
    """One asset, its latest price and how that stands; ages in seconds at the instant asked for."""

    symbol: str
    name: str | None
    kind: AssetKind | None
    """None: its ticker is none that can be asked for."""
    band: int
    price: Decimal | None
    change: float | None
    """Of the price since the day's open, as a share: 0.01 is one percent."""
    as_of_ms: int | None
    fetched_at_ms: int | None
    source: str | None
    delay: str | None
    age_s: float | None
    """Since the price was fetched."""
    target_s: int
    due_ms: int
    """When a newer price should have been fetched; 0: never fetched."""
    state: Freshness

    @property
    def over_s(self) -> float | None:
        """How far beyond its target the price is; None: it is not, or was never fetched."""
        late = self.state in (Freshness.LATE, Freshness.STALE, Freshness.FAILING, Freshness.DEAD)
        if not late or self.age_s is None or self.fetched_at_ms is None:
            return None
        return max(0.0, self.age_s - (self.due_ms - self.fetched_at_ms) / 1000)


def supplies(capabilities: Capabilities, now_ms: int) -> dict[AssetKind, Supply]:
    """Return what each kind of market gives now, as of the last look of `capabilities`."""
    return {kind: _supply(ticker, capabilities, now_ms) for kind, ticker in _SAMPLES.items()}


def freshness(
    assets: Iterable[LatestPrice],
    settings: Settings,
    supply: Mapping[AssetKind, Supply],
    now_ms: int,
    *,
    failing: Collection[str] = (),
    dead: Collection[str] = (),
) -> list[FreshnessRow]:
    """Return a row per asset: the worst state first, within one those furthest over the target.

    `failing` and `dead` are symbols. Paused assets stand last.
    """
    batch_s = settings.batch_interval_minutes * 60
    round_s = settings.secondary_interval_minutes * 60
    rows = []
    for asset in assets:
        critical = is_critical(settings, asset.symbol, asset.band)
        target_s = batch_s if critical else asset.every_s or round_s
        rows.append(_row(asset, target_s, supply, now_ms, failing=failing, dead=dead))
    rows.sort(key=_order)
    return rows


def _row(
    asset: LatestPrice,
    target_s: int,
    supply: Mapping[AssetKind, Supply],
    now_ms: int,
    *,
    failing: Collection[str],
    dead: Collection[str],
) -> FreshnessRow:
    kind = kind_of(asset.ticker)
    given = supply[kind] if kind else None
    fetched_ms = asset.fetched_at_ms
    since_ms = max(fetched_ms or 0, given.newer_since_ms if given else 0)
    due_ms = since_ms + target_s * 1000 if fetched_ms else 0
    if not asset.active:
        state = Freshness.PAUSED
    elif asset.symbol in dead:
        state = Freshness.DEAD
    elif asset.symbol in failing:
        state = Freshness.FAILING
    else:
        state = _by_age(asset, given, (now_ms - since_ms) / 1000 / target_s)
    return FreshnessRow(
        symbol=asset.symbol,
        name=asset.name,
        kind=kind,
        band=asset.band,
        price=asset.price,
        change=_change(asset),
        as_of_ms=asset.as_of_ms,
        fetched_at_ms=fetched_ms,
        source=asset.source,
        delay=asset.delay,
        age_s=max(0, now_ms - fetched_ms) / 1000 if fetched_ms else None,
        target_s=target_s,
        due_ms=due_ms,
        state=state,
    )


def _by_age(asset: LatestPrice, given: Supply | None, ratio: float) -> Freshness:
    """`ratio`: age in relation to the target."""
    if asset.price is None or asset.fetched_at_ms is None:
        return Freshness.NEVER
    if given and given.is_newest(asset):
        if given.unpublished_until_ms:
            return Freshness.PENDING
        live = given.delay is not Delay.END_OF_DAY
        return Freshness.CLOSED if live and not given.market_open else Freshness.FRESH
    if ratio <= SLACK:
        return Freshness.FRESH
    return Freshness.LATE if ratio <= STALE else Freshness.STALE


def kind_of(ticker: str) -> AssetKind | None:
    """Return the kind of market of a ticker; None for one that cannot be asked for."""
    try:
        return asset_kind(ticker)
    except InvalidTicker:
        return None


def _supply(ticker: str, capabilities: Capabilities, now_ms: int) -> Supply:
    now = utc_from_ms(now_ms)
    feed = capabilities.price_feed_for(ticker, now)
    open_ = is_open(ticker, now)
    if feed.delay is Delay.END_OF_DAY:
        kind = asset_kind(ticker)
        day = newest_allowed_day(capabilities.seen_at(ticker, feed, now), kind)
        _, ended_at = sessions_on(kind, day)[-1]
        until_ms = capabilities.unpublished().get(market_of(ticker), 0)
        return Supply(
            feed.delay,
            open_,
            newer_since_ms=_ms(ended_at),
            newest_as_of_ms=_ms(ended_at - CLOSE_SLACK),
            unpublished_until_ms=until_ms if until_ms > now_ms else 0,
        )
    if open_:
        opened_at = last_open(ticker, now)
        return Supply(feed.delay, open_, newer_since_ms=_ms(opened_at) if opened_at else 0)
    closed_at = last_close(ticker, now)
    assert closed_at is not None  # a market that never closes is open
    return Supply(
        feed.delay,
        open_,
        newest_as_of_ms=_ms(closed_at - CLOSE_SLACK),
        newest_fetched_ms=_ms(closed_at + CLOSE_SLACK),
    )


def _change(asset: LatestPrice) -> float | None:
    if asset.price is None or not asset.day_open:
        return None
    return float(asset.price / asset.day_open) - 1


_RANK = {state: rank for rank, state in enumerate(Freshness)}


def _order(row: FreshnessRow) -> tuple[int, int, int, str]:
    return _RANK[row.state], row.due_ms, row.band, row.symbol


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
