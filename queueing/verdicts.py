"""The verdicts: how one item of a call ends."""

from dataclasses import dataclass

from queueing.models import Claimed, Death


@dataclass(frozen=True)
class Done:
    """A refreshed item and the event to publish for it."""

    symbol: str
    channel: str | None = None
    event: str | None = None


@dataclass(frozen=True)
class Retry:
    """Runs again after a delay, at this priority; counts an attempt."""

    symbol: str
    delay_ms: int
    priority: int
    error: str


@dataclass(frozen=True)
class Again:
    """A part of the item's work is done and more remains: it goes behind all that waits in the
    band `priority`, with attempts and crashes forgotten. The event is published."""

    symbol: str
    priority: int
    channel: str | None = None
    event: str | None = None


@dataclass(frozen=True)
class GiveBack:
    """Returns with its score as it was, counting no attempt."""

    symbol: str
    delay_ms: int = 0
    error: str | None = None
    solo: bool = False
    """It shares no further call: to find out whose fault a failure is."""
    group: str | None = None
    """It shares calls with items of this group only; see `split`."""


@dataclass(frozen=True)
class Bury:
    """Into the dead letters."""

    symbol: str
    kind: Death
    error: str


Verdict = Done | Again | Retry | GiveBack | Bury


def split(claimed: Claimed, error: str) -> list[GiveBack]:
    """Verdicts for a call that failed because of one of its items, unknown which.

    Each half goes on in calls of its own, so that the culprit is alone after log2(n) failures and
    the others lose no attempt.
    """
    symbols = [item.symbol for item in claimed.items]
    middle = (len(symbols) + 1) // 2
    verdicts: list[GiveBack] = []
    for half in (symbols[:middle], symbols[middle:]):
        alone, group = len(half) == 1, f"{claimed.token.rpartition(':')[2]}-{len(verdicts)}"
        verdicts += [
            GiveBack(symbol, error=error, solo=alone, group=None if alone else group)
            for symbol in half
        ]
    return verdicts
