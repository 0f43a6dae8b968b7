"""What a plan is worth for a catalogue: calls of a day by use, until when history is whole, and one
sentence about this plan and the next ones.

The calls are those that the rounds of assetq make (docs/data.md); nothing is asked of a provider.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from market.coverage import days_per_call
from market.feeds import feeds_for
from market.quotes import Delay
from market.tickers import asset_kind, market_of
from market.tiers import TIERS, Plan, Tier

DAY_S = 86_400
PROBES = 15
"""Calls a night and market that find out whether the newest day is published: one in half an hour,
until then or six hours after its end."""
ANSWER_S = 0.2
GUARD_S = 0.1
WORKERS = 2
LOOKS = 2
"""Each day of bars is asked for once it is over, and once more for late repairs."""


@dataclass(frozen=True)
class Load:
    """What is to be kept fresh."""

    source: str
    """Where it comes from, for people: 95 assets of trading.symbols."""
    tickers: Sequence[str]
    bands: Mapping[int, int]
    """Band → number of assets."""
    targets_s: Mapping[int, int]
    """Band → within which time its prices are wanted, at the most urgent."""
    open_days: Mapping[str, int]
    """Ticker → UTC days of its 5-minute bars that are still to be asked for."""

    @property
    def history_calls(self) -> int:
        """The least number of calls that bring all open days."""
        days = self.open_days.items()
        return sum(-(-n // days_per_call(asset_kind(ticker))) for ticker, n in days)


@dataclass(frozen=True)
class Verdict:
    """A plan and a load: calls of a day by use, None: as many as are wanted."""

    tier: Tier
    possible: int | None
    prices: int
    bars: int
    per_round: int
    """Calls for the prices of all assets at once."""
    history_calls: int
    history_h: float | None
    """Hours until history is whole; None: never, other work takes every call."""
    end_of_day: bool

    @property
    def spare(self) -> int | None:
        """Calls of a day that history may use."""
        return None if self.possible is None else max(0, self.possible - self.prices - self.bars)

    def as_dict(self) -> dict[str, object]:
        """With stable keys, for --json."""
        return {
            "tier": self.tier.value,
            "prices": "end of day" if self.end_of_day else "live",
            "calls_possible_a_day": self.possible,
            "calls_for_prices_a_day": self.prices,
            "calls_for_bars_a_day": self.bars,
            "calls_spare_a_day": self.spare,
            "calls_per_round": self.per_round,
            "history_calls": self.history_calls,
            "history_hours": None if self.history_h is None else round(self.history_h, 1),
        }


def judge(load: Load, tier: Tier, *, limit: int | None = None, window_s: float = 60) -> Verdict:
    """What this plan does for the load; `limit` replaces the plan's calls per window."""
    plan = TIERS[tier]
    limit = limit or plan.calls_per_window
    possible = int(limit * DAY_S / (window_s + GUARD_S + ANSWER_S)) if limit else None
    markets = len({market_of(ticker) for ticker in load.tickers})
    per_round = markets if plan.end_of_day else _live_calls(load.tickers, plan)
    fastest_s = min(load.targets_s.values(), default=DAY_S)
    prices = markets * (1 + PROBES) if plan.end_of_day else per_round * DAY_S // fastest_s
    bars = _bars_a_day(load, follow_clock=limit is None and not plan.end_of_day)
    calls = load.history_calls
    if possible is None:
        history_h: float | None = calls * ANSWER_S / WORKERS / 3600
    else:
        left = possible - prices - bars
        history_h = calls / left * 24 if left > 0 else (None if calls else 0.0)
    return Verdict(tier, possible, prices, bars, per_round, calls, history_h, plan.end_of_day)


def sentence(load: Load, verdict: Verdict, others: Sequence[Verdict] = ()) -> str:
    """The verdict, and what the next plans would change. Plans that differ in nothing that assetq
    uses are named together."""
    name = verdict.tier.value.capitalize()
    if verdict.end_of_day:
        told = f"{name} gives prices of yesterday"
    else:
        told = f"{name} keeps {len(load.tickers)} assets live with {_calls(verdict.per_round)}"
        told += " per round"
    parts = [told, _history(verdict)]
    for other in others:
        title = other.tier.value.capitalize()
        if verdict.end_of_day and not other.end_of_day and len(parts) == 2:
            gain = f"makes {len(load.tickers)} assets live with {_calls(other.per_round)} per round"
            parts.append(f"{title} {gain}")
        elif TIERS[other.tier].websocket and not any("streaming" in part for part in parts):
            parts.append(f"{title} adds streaming, which assetq does not use")
    return "; ".join(parts) + "."


def _history(verdict: Verdict) -> str:
    if not verdict.history_calls:
        return "history is whole"
    if verdict.history_h is None:
        return "history never becomes whole, as prices and new bars take every call"
    hours = verdict.history_h
    took = f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(hours * 60))} min"
    return f"history whole in {took} ({verdict.history_calls:,} calls)"


def _live_calls(tickers: Sequence[str], plan: Plan) -> int:
    """Calls for the live prices of all tickers: the cheapest feed."""
    calls = [
        feed.calls_for(tickers)
        for feed in feeds_for(plan)
        if feed.delay is Delay.REAL_TIME and feed.worth_from <= len(tickers)
    ]
    return min(calls, default=len(tickers))


def _bars_a_day(load: Load, *, follow_clock: bool) -> int:
    """Calls for the bars of new days: two a day, or one whenever new ones are wanted."""
    if not follow_clock:
        return LOOKS * len(load.tickers)
    return sum(n * DAY_S // load.targets_s[band] for band, n in load.bands.items())


def _calls(count: int) -> str:
    return f"{count} call{'' if count == 1 else 's'}"


def bands_of(bands: Sequence[int]) -> dict[int, int]:
    """Band → number of assets, the most urgent first."""
    return dict(sorted(Counter(bands).items()))
