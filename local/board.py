"""What a screen knows: the latest of each asset, what failed, what was said."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from local.watching import Failure, Refresh, Status

T = TypeVar("T")

_KEPT = 200


@dataclass(frozen=True)
class Known:
    """An asset's latest refresh, and the price that it replaced."""

    refresh: Refresh
    before: Decimal | None = None

    @property
    def change(self) -> str:
        """The change of the price in per cent; empty while only one price is known."""
        if not self.before:
            return ""
        return f"{(self.refresh.price / self.before - 1) * 100:+.3f}%"


class Board:
    """What was seen, newest first; `pinned` symbols are kept apart from the others."""

    def __init__(self, title: str, pinned: Sequence[str] = ()) -> None:
        self.title = title
        self.pinned: dict[str, Known | None] = dict.fromkeys(pinned)
        self.said: deque[str] = deque(maxlen=_KEPT)
        self.status: Status | None = None
        self._others: dict[str, Known] = {}
        self._failures: dict[str, Failure] = {}
        self._looked_s = 0.0

    @property
    def latest(self) -> list[Known]:
        """The latest refresh of each asset that is not pinned."""
        return list(reversed(self._others.values()))

    @property
    def failures(self) -> list[Failure]:
        """What failed and was not refreshed since."""
        return list(reversed(self._failures.values()))

    def refreshed(self, refresh: Refresh) -> None:
        """Note it as the newest; what failed before is well again."""
        self._failures.pop(refresh.symbol, None)
        pinned = refresh.symbol in self.pinned
        known = (self.pinned if pinned else self._others).get(refresh.symbol)
        following = Known(refresh, known.refresh.price if known else None)
        if pinned:
            self.pinned[refresh.symbol] = following
        else:
            _put_last(self._others, refresh.symbol, following)

    def looked(self, status: Status) -> None:
        """Note how things stand. A failure stays known while its item waits its turn again."""
        self.status, self._looked_s = status, time.monotonic()
        current = {failure.symbol: failure for failure in reversed(status.failures)}
        for symbol, failure in self._failures.items():
            if symbol not in current:
                self._failures[symbol] = replace(failure, again_at=None, given_up_at=None)
        for symbol, failure in current.items():
            if self._failures.get(symbol) != failure:
                _put_last(self._failures, symbol, failure)

    def now(self) -> datetime | None:
        """Redis' clock, carried on since the last look; None: nothing was seen yet."""
        if self.status is None:
            return None
        return self.status.at + timedelta(seconds=time.monotonic() - self._looked_s)


def _put_last(found: dict[str, T], symbol: str, value: T) -> None:
    found.pop(symbol, None)
    found[symbol] = value
    if len(found) > _KEPT:
        del found[next(iter(found))]
