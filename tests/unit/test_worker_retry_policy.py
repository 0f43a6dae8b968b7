"""Every way in which a call can fail, on every feed, and what becomes of the item."""

from __future__ import annotations

from datetime import date

import pytest

from market import errors
from market.errors import MarketError
from market.feeds import FEEDS, Feed
from market.quotes import Missing
from queueing import Bury, Death, Done, GiveBack, Item, Priority, Retry
from worker.retry_policy import (
    NO_BARS_MS,
    PUBLISHED_LATER_MS,
    RetryRules,
    after_error,
    after_missing,
    is_of_all,
)
from worker.work import Kind, Work

RULES = RetryRules(max_attempts=2, delay_ms=7_000)
V3, SNAPSHOT, GROUPED, AGGREGATES = FEEDS
NAMES = [feed.name for feed in FEEDS]
NEXT_FEED = "at once, without a reason: the plan was learned, and the item is not to blame"
AT_ONCE, LATER = ("back", 0), ("back", PUBLISHED_LATER_MS)
AGAIN, TRANSIENT, INVALID = ("again", 7_000), ("dead", Death.TRANSIENT), ("dead", Death.INVALID)

# error → (reaction while attempts are left, reaction when they are spent), per feed
SAME = dict.fromkeys
TABLE: dict[type[MarketError], dict[str, tuple[object, object]]] = {
    errors.Unauthorized: SAME(NAMES, (AT_ONCE, AT_ONCE)),
    errors.RateLimited: SAME(NAMES, (AT_ONCE, AT_ONCE)),
    errors.SendDeadlinePassed: SAME(NAMES, (AT_ONCE, AT_ONCE)),
    errors.NotEntitled: {
        "snapshot_v3": (NEXT_FEED, NEXT_FEED),
        "snapshot": (NEXT_FEED, NEXT_FEED),
        "grouped": (NEXT_FEED, NEXT_FEED),
        "aggregates": (AGAIN, TRANSIENT),  # the last one: nothing to fall back to
    },
    errors.NotYetPublished: SAME(NAMES, (AT_ONCE, AT_ONCE)),
    errors.NoTrading: SAME(NAMES, (AT_ONCE, AT_ONCE)),
    errors.OutsidePlan: SAME(NAMES, (AGAIN, TRANSIENT)),
    errors.NotFound: {
        "snapshot_v3": (AGAIN, INVALID),
        "snapshot": (AGAIN, INVALID),
        "grouped": (AGAIN, INVALID),
        "aggregates": (INVALID, INVALID),
    },
    errors.BadRequest: SAME(NAMES, (INVALID, INVALID)),
    errors.InvalidTicker: SAME(NAMES, (INVALID, INVALID)),
    errors.ProviderDown: SAME(NAMES, (AGAIN, TRANSIENT)),
    errors.BadAnswer: SAME(NAMES, (AGAIN, TRANSIENT)),
    MarketError: SAME(NAMES, (AGAIN, TRANSIENT)),
}


def work(attempts: int = 0, kind: Kind = Kind.PRICE) -> Work:
    item = Item("EURUSD", {}, Priority.CRITICAL, 1, "1", attempts=attempts)
    return Work(item, "EURUSD", "C:EURUSD", kind)


def told(reaction: Done | Retry | GiveBack | Bury) -> object:
    assert reaction.symbol == "EURUSD"
    if isinstance(reaction, Done):
        return "done"
    if reaction == GiveBack("EURUSD"):
        return NEXT_FEED
    assert reaction.error, "the reason is kept of every failure"
    match reaction:
        case Retry(_, delay_ms, priority):
            assert priority == Priority.LOW
            return "again", delay_ms
        case GiveBack(_, delay_ms):
            return "back", delay_ms
        case Bury(_, kind):
            return "dead", kind


def raised(kind: type[MarketError]) -> MarketError:
    if kind is errors.NoTrading:
        return errors.NoTrading("because", day=date(2026, 12, 25))
    return kind("this ticker, because")


def all_errors(base: type[MarketError] = MarketError) -> set[type[MarketError]]:
    return {base}.union(*(all_errors(kind) for kind in base.__subclasses__()))


def test_no_error_is_without_a_row() -> None:
    assert {e for e in all_errors() if e.__module__ == "market.errors"} == set(TABLE)


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("attempts", range(4))
def test_reaction(kind: type[MarketError], feed: Feed, attempts: int) -> None:
    early, late = TABLE[kind][feed.name]
    reaction = after_error(work(attempts), raised(kind), feed=feed, rules=RULES)
    assert told(reaction) == (late if attempts >= RULES.max_attempts else early)
    assert told(reaction) == NEXT_FEED or "because" in str(reaction.error)


def test_a_day_that_is_not_published_yet() -> None:
    """Another call may have the day before; if that one is not there either, or bars, it waits."""
    error = errors.NotYetPublished("because")
    later = after_error(work(), error, feed=AGGREGATES, rules=RULES, day_before=True)
    assert told(later) == LATER
    assert told(after_error(work(kind=Kind.BARS), error, feed=AGGREGATES, rules=RULES)) == LATER


ALONE_TO_BLAME = {
    errors.BadRequest,
    errors.InvalidTicker,
    errors.NotFound,
    errors.OutsidePlan,
    errors.ProviderDown,
    errors.BadAnswer,
    MarketError,
}


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_which_failures_of_a_shared_call_may_be_one_items(kind: type[MarketError]) -> None:
    assert is_of_all(raised(kind)) is (kind not in ALONE_TO_BLAME)


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
def test_data_that_is_not_there_says_nothing_about_the_ticker(feed: Feed) -> None:
    error = errors.NotFound("Data not found.", status=404)
    assert told(after_error(work(), error, feed=feed, rules=RULES)) == AGAIN
    bars = after_error(work(kind=Kind.BARS), error, feed=feed, rules=RULES)
    assert told(bars) == ("back", NO_BARS_MS)


def test_no_retries_at_all_if_the_settings_say_so() -> None:
    once = RetryRules(max_attempts=0, delay_ms=1)
    assert told(after_error(work(), errors.ProviderDown(), feed=SNAPSHOT, rules=once)) == TRANSIENT


@pytest.mark.parametrize(
    ("missing", "bars", "expected"),
    [
        (None, False, AGAIN),
        (Missing("C:EURUSD", "cleared"), False, AGAIN),
        (Missing("C:EURUSD", "NOT_FOUND", permanent=True), False, INVALID),
        (Missing("C:EURUSD", "NOT_FOUND", permanent=True), True, INVALID),
        (Missing("C:EURUSD", "not here", elsewhere=True), False, AT_ONCE),
        (
            Missing("C:EURUSD", "NOT_ENTITLED", not_entitled=True, elsewhere=True),
            False,
            NEXT_FEED,
        ),
        (Missing("C:EURUSD", "no bars"), True, "done"),
    ],
)
def test_missing_in_a_good_answer(missing: Missing | None, bars: bool, expected: object) -> None:
    kind = Kind.BARS if bars else Kind.PRICE
    assert told(after_missing(work(kind=kind), missing, rules=RULES)) == expected
