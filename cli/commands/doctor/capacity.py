"""Whether the quota carries the settings: a batch must fit into its interval, and leave a rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cli.commands.doctor.finding import Finding, fail, ok, warn
from health import holds
from health.texts import span
from market.quotes import Delay
from runtime.context import Context
from settings import Settings
from worker.capabilities import Capabilities

_SLOW_S = 24 * 3600


@dataclass(frozen=True)
class Load:
    """What a batch and everything else ask of the quota; calls are per batch interval."""

    critical: int
    others: int
    tickers_per_call: int
    calls_per_interval: float
    interval_s: float

    @property
    def batch_calls(self) -> int:
        """Calls of one batch."""
        return -(-self.critical // self.tickers_per_call)

    @property
    def round_s(self) -> float | None:
        """How long one refresh of all other assets takes; None: never, nothing is left for them."""
        left = self.calls_per_interval - self.batch_calls
        calls = -(-self.others // self.tickers_per_call)
        return calls / left * self.interval_s if left > 0 else None


def capacity(context: Context, tracked: int, critical: int) -> Iterator[Finding]:
    """Compare the load that the settings make with the quota, before any batch was planned. Says
    nothing without a limit, or where a plan gives one price a day."""
    settings, feed = context.settings, Capabilities(context).price_feed()
    if settings.rate_limit is None or feed.delay is Delay.END_OF_DAY:
        return
    yield judge(load_of(settings, tracked, critical, feed.max_tickers))


def load_of(settings: Settings, tracked: int, critical: int, tickers_per_call: int) -> Load:
    """The load that the settings make."""
    interval_s = settings.batch_interval_minutes * 60
    limit = settings.rate_limit or 0
    calls = limit * interval_s / settings.rate_window_seconds
    return Load(critical, max(0, tracked - critical), tickers_per_call, calls, interval_s)


def judge(load: Load) -> Finding:
    """One line: what a batch takes, and what is left for the other assets."""
    share = (load.batch_calls, load.calls_per_interval, load.interval_s * 1000)
    text = holds.batch_share(*share)
    if load.batch_calls > load.calls_per_interval:
        return fail("capacity", holds.batch_too_large(*share).text, holds.LARGE_BATCH)
    if not load.others:
        return ok("capacity", text)
    if load.round_s is None:
        return warn("capacity", holds.nothing_left(*share).text, holds.LARGE_BATCH)
    text += f"; the other {load.others} assets are refreshed every {span(load.round_s)} at best"
    slow = load.round_s > _SLOW_S
    return warn("capacity", text, holds.LARGE_BATCH) if slow else ok("capacity", text)
