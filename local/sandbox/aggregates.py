"""/v2/aggs: ranges of bars, the previous close, and a whole market's day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from local.sandbox import answers
from local.sandbox.call import Call, Refused, date_day, is_number, moment_ms
from local.sandbox.hours import DAY_MS, date_of, day_of, open_minutes, open_spans
from local.sandbox.instruments import Instrument
from local.sandbox.series import MINUTE_MS
from local.sandbox.wire import Reply
from market.tickers import AssetKind

_STEPS_MS: Final = {
    "minute": MINUTE_MS,
    "hour": 60 * MINUTE_MS,
    "day": DAY_MS,
}
_MAX_LIMIT: Final = 50_000
_FRIDAY: Final = 4


@dataclass(frozen=True, slots=True)
class Window:
    """Bars asked for: windows of `step_ms` that start in [start, end)."""

    start_ms: int
    end_ms: int
    step_ms: int

    def base_units(self, kind: AssetKind, at_ms: int) -> int:
        """What the provider's `limit` counts in the bar at `at_ms`: minutes that trade, or days
        for bars of days."""
        end_ms = min(at_ms + self.step_ms, self.end_ms)
        if self.step_ms % DAY_MS:
            return open_minutes(kind, at_ms, end_ms)
        return sum(
            bool(open_spans(kind, day)) for day in range(day_of(at_ms), -(-end_ms // DAY_MS))
        )


def bars_in_range(
    call: Call, ticker: str, multiplier: str, timespan: str, since: str, until: str
) -> Reply:
    """One ticker's bars. Empty ranges have no `results` at all; longer ones than `limit` base
    aggregates end early with a `next_url`."""
    instrument = known(call, ticker)
    window = _until_now(
        call, _clamp_to_plan(call, _asked(call, multiplier, timespan, since, until))
    )
    limit = call.integer("limit", 5000, _MAX_LIMIT)
    order = call.one_of("sort", "asc", "asc", "desc")
    page, used = _first_page(instrument.kind, window, limit, ascending=order == "asc")
    bars = call.series.bars(ticker, page.start_ms, page.end_ms, page.step_ms, now_ms=call.now_ms)
    body = _envelope(call, ticker, used, [answers.aggregate(bar) for bar in bars])
    if order == "desc":
        body.get("results", []).reverse()
    rest = (page.end_ms, window.end_ms) if order == "asc" else (window.start_ms, page.start_ms)
    if rest[0] < rest[1]:
        path = f"/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{rest[0]}/{rest[1] - 1}"
        body["next_url"] = call.next_url(path, limit=str(limit), sort=order)
    return answers.as_reply(200, body)


def previous_close(call: Call, ticker: str) -> Reply:
    """The last completed day that traded; its `t` is the day's last millisecond."""
    known(call, ticker)
    before_ms = call.now_ms
    if call.plan.end_of_day:
        before_ms = (call.newest_published_day + 1) * DAY_MS
    bar = call.series.previous_day(ticker, before_ms)
    rows = []
    if bar is not None:
        rows = [{"T": ticker} | answers.aggregate(bar) | {"t": bar.start_ms + DAY_MS - 1}]
    return answers.as_reply(200, _envelope(call, ticker, 1, rows))


def grouped(call: Call, market: str, on: str) -> Reply:
    """Every ticker's bar of one UTC day. Weekends of fx are empty; today is refused on an
    end-of-day plan. `t` is not the day's start: crypto carries its last ms, fx its last minute."""
    if market not in ("fx", "crypto"):
        raise Refused(answers.page_not_found())
    day = date_day(on)
    if call.plan.end_of_day and day > call.newest_published_day:
        raise Refused(answers.not_yet_published())
    if day < call.today - call.plan.history_days:
        raise Refused(answers.outside_plan())
    rows = []
    if day <= call.today and (market == "crypto" or date_of(day).weekday() <= _FRIDAY):
        for ticker, instrument in call.series.instruments.items():
            if instrument.market == market:
                rows += _day_row(call, ticker, instrument, day * DAY_MS)
    return answers.as_reply(200, _envelope(call, None, len(rows), rows))


def _day_row(
    call: Call, ticker: str, instrument: Instrument, start_ms: int
) -> list[answers.JsonDict]:
    bars = call.series.bars(ticker, start_ms, start_ms + DAY_MS, DAY_MS, now_ms=call.now_ms)
    closes_ms = open_spans(instrument.kind, day_of(start_ms))[-1][1]
    stamp = closes_ms - (1 if instrument.market == "crypto" else MINUTE_MS)
    return [{"T": ticker} | answers.aggregate(bar) | {"t": stamp} for bar in bars]


def known(call: Call, ticker: str) -> Instrument:
    """The instrument; raises Refused (404) for a ticker that does not exist."""
    if (instrument := call.series.instruments.get(ticker)) is None:
        raise Refused(answers.ticker_not_found())
    return instrument


def _envelope(
    call: Call, ticker: str | None, used: int, rows: list[answers.JsonDict]
) -> answers.JsonDict:
    body: answers.JsonDict = {} if ticker is None else {"ticker": ticker}
    body |= {
        "queryCount": used,
        "resultsCount": len(rows),
        "adjusted": call.request.query.get("adjusted", "true") != "false",
        **answers.envelope(call.plan.aggregates_status),
    }
    return body | ({"results": rows, "count": len(rows)} if rows else {})


def _asked(call: Call, multiplier: str, timespan: str, since: str, until: str) -> Window:
    if timespan == "second" and call.plan.end_of_day:
        raise Refused(answers.not_entitled())
    if timespan not in _STEPS_MS:
        allowed = ", ".join(_STEPS_MS)
        raise Refused(answers.bad_request(f"the sandbox has no bars of a {timespan}: {allowed}"))
    if not is_number(multiplier) or not 1 <= int(multiplier) <= 1440:
        raise Refused(answers.bad_request("'multiplier' must be a positive number"))
    start_ms = moment_ms(since, end_of_day=False)
    end_ms = moment_ms(until, end_of_day=True) + 1
    if end_ms <= start_ms:
        raise Refused(
            answers.bad_request("The parameter 'to' cannot be a time that occurs before 'from'")
        )
    return Window(start_ms, end_ms, int(multiplier) * _STEPS_MS[timespan])


def _clamp_to_plan(call: Call, window: Window) -> Window:
    """Refuse what the plan does not hold; cut off silently what lies before its history."""
    oldest_ms = (call.today - call.plan.history_days) * DAY_MS
    if window.end_ms <= oldest_ms:
        raise Refused(answers.outside_plan())
    if call.plan.end_of_day:
        last_day = day_of(window.end_ms - 1)
        if last_day >= call.today:
            raise Refused(answers.outside_plan())
        if last_day > call.newest_published_day:
            raise Refused(answers.not_yet_published())
    return Window(max(window.start_ms, oldest_ms), window.end_ms, window.step_ms)


def _until_now(call: Call, window: Window) -> Window:
    end_ms = max(window.start_ms, min(window.end_ms, call.now_ms + 1))
    return Window(window.start_ms, end_ms, window.step_ms)


def _first_page(
    kind: AssetKind, window: Window, limit: int, *, ascending: bool
) -> tuple[Window, int]:
    """The part of the window that `limit` base aggregates reach, one bar at least, and how many
    it uses. Pages meet between two bars."""
    step, used = window.step_ms, 0
    starts = range(-(-window.start_ms // step) * step, window.end_ms, step)
    for at_ms in starts if ascending else reversed(starts):
        units = window.base_units(kind, at_ms)
        if used and used + units > limit:
            edges = (window.start_ms, at_ms) if ascending else (at_ms + step, window.end_ms)
            return Window(*edges, step), used
        used += units
    return window, min(used, limit)
