"""The provider changes its answers: more fields, fewer of them, numbers as text. Each place of each
shape in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from market.errors import BadAnswer
from market.feeds import Feed
from market.quotes import Answer
from tests.unit.test_market_feeds import BTC, EUR, SHAPES, fetch

NEEDED = {"ticker", "results", "open", "high", "low", "close", "o", "h", "l", "c", "t"} | {
    "a", "b", "p", "bid", "ask", "price", "last_updated", "participant_timestamp", "updated",
    "last_quote", "last_trade", "lastQuote", "lastTrade", "session", "day", "timeframe", "min",
}  # fmt: skip
"""Keys that say something of a price; whatever else is gone, the answer is the same."""
EACH = pytest.mark.parametrize(("feed", "body"), SHAPES, ids=[feed.name for feed, _ in SHAPES])


def read(feed: Feed, body: Any) -> Answer:
    return fetch(feed, body, *([EUR, BTC][: feed.max_tickers]))


def everywhere(node: Any, change: Callable[[Any], Any]) -> Any:
    """The tree with every part of it changed, leaves first."""
    if isinstance(node, dict):
        node = {key: everywhere(value, change) for key, value in node.items()}
    elif isinstance(node, list):
        node = [everywhere(value, change) for value in node]
    return change(node)


def paths(node: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key of every object."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        if isinstance(node, dict):
            yield (*so_far, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*so_far, key))


def without(body: Any, path: tuple[Any, ...], *, null: bool) -> Any:
    body = deepcopy(body)
    where = body
    for key in path[:-1]:
        where = where[key]
    if null:
        where[path[-1]] = None
    else:
        del where[path[-1]]
    return body


@EACH
def test_new_fields_change_nothing(feed: Feed, body: dict[str, Any]) -> None:
    def grown(node: Any) -> Any:
        more = {"new_number": 1, "new_text": "x", "new_list": [{}], "new_object": {"close": 9}}
        return node | more if isinstance(node, dict) else node

    assert read(feed, everywhere(body, grown)) == read(feed, body)


@EACH
def test_numbers_as_text_are_the_same_numbers(feed: Feed, body: dict[str, Any]) -> None:
    def quoted(node: Any) -> Any:
        is_number = isinstance(node, int | float | Decimal) and not isinstance(node, bool)
        return str(node) if is_number else node

    assert read(feed, everywhere(body, quoted)) == read(feed, body)


@EACH
@pytest.mark.parametrize("null", [False, True], ids=["absent", "null"])
def test_a_field_that_is_gone_costs_at_most_itself(
    feed: Feed, body: dict[str, Any], null: bool
) -> None:
    whole = read(feed, body)
    for path in paths(body):
        try:
            answer = read(feed, without(body, path, null=null))
        except BadAnswer:
            assert path[-1] in ("ticker", "results"), path
            continue
        if not NEEDED & set(path[-1:]) and path[-1] not in ("v", "vw", "n"):
            assert answer.observations == whole.observations, path
        for ticker, missing in answer.missing.items():
            assert missing.reason, path
            assert not missing.permanent, f"{ticker} would be given up for want of {path}"
        for ticker, seen in answer.observations.items():
            assert seen.price.as_of <= whole.observations[ticker].price.as_of, path
