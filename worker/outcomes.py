"""What becomes of a call's items: by the provider's answer, an error, an outage, and the write."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from db.rows import SymbolRefresh, WriteResult
from market.errors import MarketError
from market.quotes import Answer, Delay, Observation
from market.tickers import AssetKind, asset_kind
from queueing import Done, GiveBack, Verdict, split
from worker.call import Call, Outcome
from worker.events import AssetUpdated, channel
from worker.retry_policy import (
    RetryRules,
    after_error,
    after_failure,
    after_missing,
    after_refusal,
    defect,
    is_of_all,
    provider_failed,
)
from worker.series import asked_for, daily_asked
from worker.work import Kind, Work


def outcome_of_answer(
    call: Call, answer: Answer, rules: RetryRules, jumps: Mapping[AssetKind, Decimal]
) -> Outcome:
    """A good answer: each item has its price, or the reason why there is none.

    `jumps`: how far from the stored price one is believed that its answer does not support."""
    verdicts, rows = call.not_asked(), {}
    for work in call.work:
        name = work.item.symbol
        if seen := answer.observations.get(work.ticker):
            event = AssetUpdated.of(work.symbol, work.item, call.told_by, seen.price)
            rows[name] = _row(call, work, seen, jumps)
            verdicts[name] = Done(name, channel(work.symbol), event.model_dump_json())
            continue
        missing = answer.missing.get(work.ticker)
        if missing is None and answer.cut_short:
            verdicts[name] = GiveBack(name)
            continue
        verdicts[name] = after_missing(work, missing, rules=rules)
        if missing is not None and missing.asked is not None:
            asked = asked_for(work.ticker, missing.asked, None, call.granted_at)
            rows[name] = SymbolRefresh(work.symbol, None, asked=asked)
    return Outcome(verdicts, rows)


def _row(
    call: Call, work: Work, seen: Observation, jumps: Mapping[AssetKind, Decimal]
) -> SymbolRefresh:
    """What is to be stored of one asset. Bars are prices where the plan has no newer ones."""
    return SymbolRefresh(
        work.symbol,
        seen.price,
        seen.bars,
        bars_only=work.kind is Kind.BARS and call.price_feed.delay is not Delay.END_OF_DAY,
        daily=seen.daily,
        asked=(
            asked_for(work.ticker, seen.asked, seen, call.granted_at)
            if seen.asked
            else daily_asked(seen.daily)
        ),
        furthest=None if seen.price.supported else jumps.get(asset_kind(work.ticker)),
    )


def outcome_of_error(call: Call, error: MarketError, rules: RetryRules) -> Outcome:
    """A call that failed as a whole."""
    if len(call.work) > 1 and not is_of_all(error):
        verdicts = _halves(call, str(error))
    else:
        day_before = call.progress.day_before
        verdicts = call.not_asked() | {
            work.item.symbol: after_error(
                work, error, feed=call.feed, rules=rules, day_before=day_before
            )
            for work in call.work
        }
    failed = provider_failed(error, call.progress.took_ms)
    return Outcome(verdicts, answered=error.answered, sent=error.sent, failed=failed)


def outcome_of_defect(call: Call, error: BaseException, rules: RetryRules) -> Outcome:
    """A call in which this program failed; it says nothing about the provider."""
    items, why = call.claimed.items, defect(error)
    if len(items) > 1:
        verdicts = _halves(call, why)
    else:
        verdicts = {item.symbol: after_failure(item, why, rules=rules) for item in items}
    progress = call.progress
    return Outcome(verdicts, answered=progress.answered, sent=progress.sending, failed=None)


def _halves(call: Call, why: str) -> dict[str, Verdict]:
    """One of the items is to blame: each half goes on in calls of its own, until it is alone."""
    back: dict[str, Verdict] = {one.symbol: one for one in split(call.claimed, why)}
    return back | call.not_asked()


def outcome_of_outage(call: Call, outcome: Outcome, why: str, *, delay_ms: int) -> Outcome:
    """A call whose answer could not be stored: its items return, and no event is told."""
    back: dict[str, Verdict] = {
        item.symbol: GiveBack(item.symbol, delay_ms=delay_ms, error=why)
        for item in call.claimed.items
    }
    return replace(outcome, verdicts=back, rows={})


def outcome_of_write(
    call: Call, outcome: Outcome, written: WriteResult, rules: RetryRules
) -> Outcome:
    """The same after the write: what a table refused fails, and what stood there is no news."""
    verdicts = dict(outcome.verdicts)
    for work in call.work:
        name, symbol = work.item.symbol, work.symbol
        if name not in outcome.rows:
            continue
        if why := written.refused.get(symbol):
            busy = symbol in written.busy
            verdicts[name] = after_refusal(work.item, why, busy=busy, rules=rules)
        elif (why := written.suspect.get(symbol)) and work.kind is Kind.PRICE:
            verdicts[name] = after_failure(work.item, why, rules=rules)
        elif symbol not in written.changed and isinstance(verdicts[name], Done):
            verdicts[name] = Done(name)
    return replace(outcome, verdicts=verdicts)
