"""What `assetq up` has seen, and what it says at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import requests

from db.symbols import StoredAsset
from local.watching import Refresh, SandboxView
from market.quotes import Delay


@dataclass
class Tally:
    """What a run has seen. `fresh` are the critical assets a batch or a refresh has vouched for."""

    critical: tuple[str, ...]
    refreshes: int = 0
    symbols: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)
    deaths: int = 0

    def count(self, refresh: Refresh) -> None:
        """Add one refresh."""
        self.refreshes += 1
        self.symbols.add(refresh.symbol)
        self.fresh.update({refresh.symbol} & set(self.critical))

    @property
    def missing(self) -> list[str]:
        """Critical assets that nothing has vouched for yet."""
        return [symbol for symbol in self.critical if symbol not in self.fresh]


def summary(
    tally: Tally, sandbox: SandboxView | None, stored: Mapping[str, StoredAsset]
) -> list[str]:
    """The last lines of a run; `stored` are the critical assets as they stand in the table."""
    lines = ["", f"{tally.refreshes} refreshes of {len(tally.symbols)} assets"]
    if sandbox is not None:
        lines.append(_arrivals(sandbox))
    if tally.deaths:
        lines.append(f"processes that ended and were started again: {tally.deaths}")
    return [*lines, f"critical assets: {_freshness(tally, stored)}"]


def _arrivals(sandbox: SandboxView) -> str:
    try:
        told = sandbox.summary()
    except requests.RequestException as error:
        return f"the sandbox does not answer any more ({type(error).__name__})"
    limit = "no limit" if told["limit"] is None else f"limit {told['limit']}"
    return (
        f"the sandbox counted {told['total']} calls, at most {told['worst_window']} in any "
        f"{told['window_s']:g} s ({limit}); it refused {told['refused']}"
    )


def _freshness(tally: Tally, stored: Mapping[str, StoredAsset]) -> str:
    """Fresh only where prices are live: a plan may give nothing newer than yesterday."""
    if tally.missing:
        return f"NOT refreshed: {', '.join(tally.missing)}"
    if not tally.critical:
        return "none are configured"
    names = ", ".join(tally.critical)
    completed = [a.as_of for a in stored.values() if a.delay == Delay.END_OF_DAY and a.as_of]
    if not completed:
        return f"all fresh ({names})"
    return (
        f"up to date for this plan, which ends with the last completed day ({names}): "
        f"as of {min(completed):%Y-%m-%d %H:%M} UTC"
    )
