"""Waiting for the results of requests, with progress for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli.show.output import note
from health.expected import Expected
from health.observe import Observer
from health.pending import Pending
from health.texts import names
from queueing.foreign import json_object
from queueing.wire import dead_letter
from runtime.context import Context
from runtime.heartbeat import living

_LOOK_S = 0.3
_PROGRESS_S = 1.0
_AGAIN_S = 10.0
_EVENTS = 10_000


@dataclass(frozen=True)
class Result:
    """How the work on one asset ended."""

    outcome: str
    """refreshed (an event told of it), unchanged (nothing newer came) or dead"""
    price: float | None = None
    why: str | None = None


class Waiting:
    """Waits until requested items have left the queue. Made before they are requested: what the
    stream of events tells from then on is about them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._observer = Observer(context.settings, redis=context.redis)
        newest: Any = context.redis.xrevrange(context.keys.updates, count=1)
        self._after = str(newest[0][0]) if newest else "0-0"
        self._prices: dict[str, float] = {}
        self._told: tuple[object, ...] = ()
        self._looked_s = self._told_s = float("-inf")
        self.ended: dict[str, Result] = {}
        self.open: list[str] = []

    @property
    def dead(self) -> list[str]:
        """Those that were given up, each with the reason."""
        return [f"{s} ({one.why})" for s, one in self.ended.items() if one.outcome == "dead"]

    def for_all(self, symbols: Sequence[str], timeout_s: float) -> None:
        """Wait until all have ended or the time is over; `open` are those that have not."""
        end_s, self.open = time.monotonic() + timeout_s, list(symbols)
        while True:
            self._look()
            left_s = end_s - time.monotonic()
            if not self.open or left_s <= 0:
                return
            self._tell()
            time.sleep(min(_LOOK_S, left_s))

    def as_dict(self, symbol: str) -> dict[str, Any]:
        """The result with stable keys, for --json; empty where nothing was waited for."""
        if not self.ended and not self.open:
            return {}
        one = self.ended.get(symbol, Result("pending"))
        return {"result": one.outcome, "price": one.price, "reason": one.why}

    def rows(self) -> list[tuple[object, ...]]:
        """The results for people."""
        ended = [(s, one.outcome, one.price, one.why) for s, one in self.ended.items()]
        return [*ended, *((symbol, "pending", None, None) for symbol in self.open)]

    def _look(self) -> None:
        """Move those that have left the queue to `ended`. The events are read behind: an item is
        freed by the script that publishes its event."""
        keys = self._context.keys
        pipe = self._context.redis.pipeline(transaction=True)
        pipe.smismember(keys.pending, self.open)
        pipe.hmget(keys.dead_items, self.open)
        pipe.xrange(keys.updates, min=f"({self._after}", count=_EVENTS)
        pending, letters, events = pipe.execute()
        for event_id, fields in events:
            self._after = str(event_id)
            self._note(fields.get("event"))
        for symbol, waits, text in zip(tuple(self.open), pending, letters, strict=True):
            if not waits:
                self.open.remove(symbol)
                self.ended[symbol] = self._result(symbol, text)

    def _result(self, symbol: str, text: str | None) -> Result:
        if letter := dead_letter(symbol, text) if text else None:
            return Result("dead", why=f"{letter.kind}: {letter.reason}")
        price = self._prices.get(symbol)
        return Result("unchanged" if price is None else "refreshed", price)

    def _note(self, event: str | None) -> None:
        try:
            told = json_object(event)
            self._prices[str(told["symbol"])] = float(told["last_price"])
        except (ValueError, TypeError, KeyError):
            return  # no event of ours: anybody may write to the stream

    def _tell(self) -> None:
        """Tell what is awaited when that changes, and every ten seconds."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _PROGRESS_S:
            return
        self._looked_s = now_s
        pending = Pending.look(self._context, self._observer.look())
        first = min((pending.of(symbol) for symbol in self.open), key=_rank)
        attempts = [one.item.attempts for one in pending.listed if one.item.symbol in self.open]
        told = (tuple(self.open), first.cause and first.cause.key, attempts)
        if told == self._told and now_s - self._told_s < _AGAIN_S:
            return
        self._told, self._told_s = told, now_s
        note(f"{names(self.open)}: {_progress(first, pending.now_ms)}")


def _rank(one: Expected) -> int:
    return one.rank or 0


def _progress(first: Expected, now_ms: int) -> str:
    why = first.why()
    if first.at_ms is None:
        return why or "waits"
    return f"expected {first.text(now_ms)}" + (f". {why}" if why else "")


def tell_idle(context: Context) -> None:
    """Say so if no worker can take what was asked for."""
    if not living(context.redis, context.keys, "worker"):
        note("note: no worker is alive, so this waits. Start one, or run `assetq drain`.")


def pending_of(context: Context, symbols: Sequence[str]) -> set[str]:
    """Those of the symbols that are queued, delayed or leased."""
    if not symbols:
        return set()
    flags: Any = context.redis.smismember(context.keys.pending, list(symbols))
    return {symbol for symbol, flag in zip(symbols, flags, strict=True) if flag}
