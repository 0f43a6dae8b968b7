"""/v2/aggs: ranges of bars, the previous close, and a whole market's day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from local.sandbox import answers
from local.sandbox.context import Context, Refused, date_day, is_number, moment_ms, write_cursor
from local.sandbox.hours import DAY_MS, date_of, day_of, open_spans
from local.sandbox.instruments import Instrument
from local.sandbox.wire import Reply

MINUTE_MS: Final = 60_000
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

    @property
    def base_ms(self) -> int:
        """What the provider's `limit` counts: minutes, or days for bars of days and more."""
        return DAY_MS if self.step_ms % DAY_MS == 0 else MINUTE_MS


def bars_in_range(
    context: Context, ticker: str, multiplier: str, timespan: str, since: str, until: str
) -> Reply:
    """One ticker's bars. Empty ranges have no `results` at all; longer ones than `limit` base
    aggregates end early with a `next_url`."""
    instrument = known(context, ticker)
    window = _asked(context, multiplier, timespan, since, until)
    window = _clamp_to_plan(context, window)
    limit = context.integer("limit", 5000, _MAX_LIMIT)
    ascending = context.one_of("sort", "asc", "asc", "desc") == "asc"
    window = _until_now(context, window)
    page, used = _first_page(instrument, window, limit, ascending=ascending)
    bars = context.series.bars(
        ticker, page.start_ms, page.end_ms, page.step_ms, now_ms=context.now_ms
    )
    body = _envelope(context, ticker, used, len(bars))
    if bars:
        ordered = bars if ascending else bars[::-1]
        body |= {"results": [answers.aggregate(bar) for bar in ordered], "count": len(bars)}
    if (page.start_ms, page.end_ms) != (window.start_ms, window.end_ms):
        rest = (
            (page.end_ms, window.end_ms - 1) if ascending else (window.start_ms, page.start_ms - 1)
        )
        body["next_url"] = context.next_url(
            f"/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{rest[0]}/{rest[1]}",
            cursor=write_cursor({}, limit),
            limit=str(limit),
            sort="asc" if ascending else "desc",
        )
    return answers.as_reply(200, body)


def previous_close(context: Context, ticker: str) -> Reply:
    """The last completed day that traded; its `t` is the day's last millisecond."""
    known(context, ticker)
    before_ms = context.now_ms
    if context.plan.end_of_day:
        before_ms = (context.newest_published_day + 1) * DAY_MS
    bar = context.series.previous_day(ticker, before_ms)
    body = _envelope(context, ticker, 1, 1 if bar else 0)
    if bar:
        last_ms = bar.start_ms + DAY_MS - 1
        body |= {"results": [{"T": ticker} | answers.aggregate(bar) | {"t": last_ms}], "count": 1}
    return answers.as_reply(200, body)


def grouped(context: Context, market: str, on: str) -> Reply:
    """Every ticker's bar of one UTC day. Weekends of fx are empty; today is refused on an
    end-of-day plan. `t` is not the day's start: crypto carries its last ms, fx its last minute."""
    if market not in ("fx", "crypto"):
        raise Refused(answers.page_not_found())
    day = date_day(on)
    if context.plan.end_of_day and day > context.newest_published_day:
        raise Refused(answers.not_yet_published())
    if day < context.today - context.plan.history_days:
        raise Refused(answers.outside_plan())
    rows = []
    if market == "crypto" or date_of(day).weekday() <= _FRIDAY:
        for ticker, instrument in context.series.instruments.items():
            if instrument.market != market or day > context.today:
                continue
            start_ms = day * DAY_MS
            bars = context.series.bars(
                ticker, start_ms, start_ms + DAY_MS, DAY_MS, now_ms=context.now_ms
            )
            last_ms = open_spans(instrument.kind, day)[-1][1] if bars else 0
            stamp = last_ms - (MINUTE_MS if market == "fx" else 1)
            rows += [{"T": ticker} | answers.aggregate(bar) | {"t": stamp} for bar in bars]
    body = _envelope(context, None, len(rows), len(rows))
    if rows:
        body |= {"results": rows, "count": len(rows)}
    return answers.as_reply(200, body)


def known(context: Context, ticker: str) -> Instrument:
    """The instrument; raises Refused (404) for a ticker that does not exist."""
    if (instrument := context.series.instruments.get(ticker)) is None:
        raise Refused(answers.ticker_not_found())
    return instrument


def _envelope(context: Context, ticker: str | None, used: int, found: int) -> answers.JsonDict:
    named = {} if ticker is None else {"ticker": ticker}
    return named | {
        "queryCount": used,
        "resultsCount": found,
        "adjusted": context.request.query.get("adjusted", "true") != "false",
        **answers.envelope(context.plan.aggregates_status),
    }


def _asked(context: Context, multiplier: str, timespan: str, since: str, until: str) -> Window:
    if timespan == "second" and context.plan.end_of_day:
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


def _clamp_to_plan(context: Context, window: Window) -> Window:
    """Refuse what the plan does not hold; cut off silently what lies before its history."""
    oldest_ms = (context.today - context.plan.history_days) * DAY_MS
    if window.end_ms <= oldest_ms:
        raise Refused(answers.outside_plan())
    if context.plan.end_of_day:
        last_day = day_of(window.end_ms - 1)
        if last_day >= context.today:
            raise Refused(answers.outside_plan())
        if last_day > context.newest_published_day:
            raise Refused(answers.not_yet_published())
    return Window(max(window.start_ms, oldest_ms), window.end_ms, window.step_ms)


def _until_now(context: Context, window: Window) -> Window:
    end_ms = max(window.start_ms, min(window.end_ms, context.now_ms + 1))
    return Window(window.start_ms, end_ms, window.step_ms)


def _first_page(
    instrument: Instrument, window: Window, limit: int, *, ascending: bool
) -> tuple[Window, int]:
    """The part of the window that `limit` base aggregates reach, and how many it really used.

    Pages meet between two bars, never inside one."""
    used = 0
    days = range(day_of(window.start_ms), day_of(window.end_ms - 1) + 1)
    for day in days if ascending else reversed(days):
        spans = open_spans(instrument.kind, day)
        for start, end in spans if ascending else reversed(spans):
            start, end = max(start, window.start_ms), min(end, window.end_ms)
            if start >= end:
                continue
            units = 1 if window.base_ms == DAY_MS else -(-(end - start) // MINUTE_MS)
            if used + units > limit:
                return _cut(window, start, end, limit - used, ascending=ascending), limit
            used += units
            if window.base_ms == DAY_MS:
                break
    return window, used


def _cut(window: Window, start: int, end: int, units: int, *, ascending: bool) -> Window:
    step = window.step_ms
    if ascending:
        reached = (start + units * window.base_ms) // step * step
        return Window(window.start_ms, max(reached, window.start_ms // step * step + step), step)
    reached = -(-(end - units * window.base_ms) // step) * step
    return Window(min(reached, (window.end_ms - 1) // step * step), window.end_ms, step)
