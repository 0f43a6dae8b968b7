"""A price that nothing supports, from the provider's answer to the table, the queue and the log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from queueing import Death
from tests.kit.market_server import Peer, RawServer
from tests.kit.worker import Site, settings_for


class Quotes:
    """A provider whose snapshots hold a quote of EURUSD and nothing else, and all of BTCUSD."""

    def __init__(self) -> None:
        self.bid, self.ask = 1.1499, 1.1501
        self.also: dict[str, Any] = {}

    def serve(self, peer: Peer) -> None:
        while peer.read_head():
            now_ns = time.time_ns()
            quote = {"bid": self.bid, "ask": self.ask, "last_updated": now_ns}
            trade = {"price": 68000, "participant_timestamp": now_ns}
            peer.answer(
                {
                    "status": "OK",
                    "results": [
                        {"ticker": "C:EURUSD", "session": {}, "last_quote": quote, **self.also},
                        {"ticker": "X:BTCUSD", "session": {"close": 68000}, "last_trade": trade},
                    ],
                }
            )


@pytest.fixture
def quotes() -> Quotes:
    return Quotes()


@pytest.fixture
def site(redis_url: str, migrated_url: str, quotes: Quotes) -> Iterator[Site]:
    with RawServer(quotes.serve) as server:
        given = settings_for(redis_url, migrated_url, server.url, retry_max_attempts=1)
        with Site.open(given) as opened:
            opened.refresh("EURUSD", "BTCUSD")
            assert sorted(opened.events()) == ["BTCUSD", "EURUSD"]
            yield opened


def price(site: Site, key: str = "last_update") -> float | None:
    query = "SELECT metadata -> %s -> 'last_price' FROM trading.symbols WHERE symbol = 'EURUSD'"
    return site.one(query, key)  # type: ignore[no-any-return]


def soon(site: Site, symbol: str) -> None:
    """The delay is over."""
    assert site.where(symbol) == "delayed"
    site.context.redis.zadd(site.context.keys.delayed, {symbol: 0})


def test_a_stub_quote_is_told_and_asked_for_again_and_the_good_one_goes_on(
    site: Site, quotes: Quotes
) -> None:
    quotes.bid, quotes.ask = 0.5749, 0.5751
    with capture_logs() as logs:
        site.refresh("EURUSD", "BTCUSD")
    [line] = [entry for entry in logs if entry["event"] == "refresh.failed"]
    assert line["symbol"] == "EURUSD"
    assert "0.575" in line["reason"]
    assert "1.15" in line["reason"]
    assert sorted(site.events()) == ["BTCUSD", "BTCUSD", "EURUSD"], "no event of the suspect one"
    assert (price(site), price(site, "suspect_update")) == (1.15, 0.575)
    assert site.status("EURUSD") == ("error", line["reason"])
    quotes.bid, quotes.ask = 1.1509, 1.1511
    soon(site, "EURUSD")
    site.drain().run()
    assert (price(site), price(site, "suspect_update")) == (1.151, None)
    assert site.status("EURUSD") == ("success", None)


def test_a_crash_arrives_with_the_second_answer(site: Site, quotes: Quotes) -> None:
    quotes.bid, quotes.ask = 0.5749, 0.5751
    site.refresh("EURUSD")
    soon(site, "EURUSD")
    site.drain().run()
    assert price(site) == 0.575
    assert sorted(site.events()) == ["BTCUSD", "EURUSD", "EURUSD"]


def test_a_crash_that_the_answer_supports_arrives_at_once(site: Site, quotes: Quotes) -> None:
    quotes.bid, quotes.ask = 0.5749, 0.5751
    quotes.also = {"session": {"open": 1.15, "high": 1.15, "low": 0.57, "close": 0.575}}
    site.refresh("EURUSD")
    assert price(site) == 0.575
    assert site.where("EURUSD") == "nowhere"


def test_answers_that_never_agree_end_as_a_dead_letter(site: Site, quotes: Quotes) -> None:
    quotes.bid, quotes.ask = 0.5749, 0.5751
    site.refresh("EURUSD")
    quotes.bid, quotes.ask = 2.2999, 2.3001
    soon(site, "EURUSD")
    site.drain().run()
    [letter] = site.context.queue.dead()
    assert (letter.symbol, letter.kind) == ("EURUSD", Death.TRANSIENT)
    assert "2.3" in letter.reason
    assert price(site) == 1.15
