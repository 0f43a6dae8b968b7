"""The answers that are damaged: the provider's own shapes, from the sandbox."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import SecretStr

from db.symbols import Asset
from local.sandbox import SandboxServer
from market.aggregates import Aggregates
from market.client import MarketClient
from market.feeds import Feed
from market.snapshots import Snapshot, SnapshotV3
from market.transport import SendDeadline
from market.whole import WholeMarket
from tests.kit.market_server import Peer, RawServer

ASSETS = (
    Asset("EURUSD", "C:EURUSD", "forex"),
    Asset("XAUUSD", "C:XAUUSD", "forex"),
    Asset("GBPUSD", "C:GBPUSD", "forex"),
    Asset("BTCUSD", "X:BTCUSD", "crypto"),
    Asset("ETHUSD", "X:ETHUSD", "crypto"),
)
BARS_SHOWN = 12
"""Bars of an answer that is served; the real one has some hundred, and no other shape."""


@dataclass(frozen=True)
class Shape:
    """A good answer, and who asks for it."""

    feed: Feed
    symbols: tuple[str, ...]
    body: bytes
    bars: bool = False
    known: Mapping[str, Decimal] = field(default_factory=dict)
    """Symbol → the price that the undamaged answer holds."""


def shapes(now: datetime) -> list[Shape]:
    """The provider's answers as they are, from the sandbox."""
    v3, single, day, today = SnapshotV3(), Snapshot(), Aggregates(), Aggregates(end_of_day=False)
    tickers = {asset.symbol: asset.polygon_ticker for asset in ASSETS}
    found = []
    with SandboxServer(plan="starter", limit=0) as sandbox:

        def ask(path: str) -> Any:
            request = urllib.request.Request(sandbox.url + path)
            request.add_header("Authorization", "Bearer any")
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)

        for symbols in (tuple(tickers), ("EURUSD",), ("BTCUSD", "XAUUSD")):
            names = ",".join([*(tickers[symbol] for symbol in symbols), "C:ZZZZZZ"])
            body = ask(f"/v3/snapshot?ticker.any_of={names}&limit=250")
            found.append(Shape(v3, symbols, json.dumps(body).encode()))
        for symbol in ("EURUSD", "BTCUSD"):
            ticker = tickers[symbol]
            market = "crypto" if ticker.startswith("X") else "forex"
            body = ask(f"/v2/snapshot/locale/global/markets/{market}/tickers/{ticker}")
            found.append(Shape(single, (symbol,), json.dumps(body).encode()))
            body = ask(f"/v2/snapshot/locale/global/markets/{market}/tickers?tickers={ticker}")
            found.append(Shape(WholeMarket(), (symbol,), json.dumps(body).encode()))
            for feed in (day, today):
                last = feed.newest_day(ticker, now)
                first = last - timedelta(days=4)
                body = ask(f"/v2/aggs/ticker/{ticker}/range/5/minute/{first}/{last}?sort=desc")
                body["results"] = body["results"][:BARS_SHOWN]
                raw = json.dumps(body).encode()
                found += [Shape(feed, (symbol,), raw), Shape(feed, (symbol,), raw, bars=True)]
        day_before = now.date() - timedelta(days=1)
        whole = ask(f"/v2/aggs/ticker/X:BTCUSD/range/5/minute/{day_before}/{day_before}")
        found.append(Shape(day, ("BTCUSD",), json.dumps(whole).encode(), bars=True))
    return [replace(shape, known=_known(shape, now)) for shape in found]


def _known(shape: Shape, now: datetime) -> dict[str, Decimal]:
    """The prices of an undamaged answer, as the feed reads them."""
    with RawServer(lambda peer: _once(peer, shape.body)) as server, client_of(server) as client:
        tickers = {asset.symbol: asset.polygon_ticker for asset in ASSETS}
        asked = [tickers[symbol] for symbol in shape.symbols]
        answer = shape.feed.fetch(client, asked, now=now, deadline=SendDeadline.after(5))
        seen = answer.observations
        return {s: seen[tickers[s]].price.last for s in shape.symbols if tickers[s] in seen}


def _once(peer: Peer, body: bytes) -> None:
    peer.read_head()
    peer.answer(body)


def client_of(server: RawServer) -> MarketClient:
    """A client of that server."""
    return MarketClient(server.url, SecretStr("any-key-at-all"), timeout_s=5)
