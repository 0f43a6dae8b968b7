"""The promises that the judge looks for, each registered by the check that guards it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.chaos.evidence import Evidence

_SHOWN = 5


@dataclass(frozen=True)
class Broken:
    """One promise that was not kept, and the first cases."""

    promise: str
    cases: tuple[str, ...]

    def __str__(self) -> str:
        more = len(self.cases) - _SHOWN
        tail = f" … and {more} more" if more > 0 else ""
        return f"{self.promise}: {'; '.join(self.cases[:_SHOWN])}{tail}"


Check = Callable[[Evidence], Iterator[str]]
CHECKS: dict[str, Check] = {}


def promise(name: str) -> Callable[[Check], Check]:
    """Registers a check under the name of what it guards."""

    def add(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return add


def judge(evidence: Evidence) -> list[Broken]:
    """Every broken promise; empty if all were kept."""
    found = ((name, tuple(check(evidence))) for name, check in CHECKS.items())
    return [Broken(name, cases) for name, cases in found if cases]


def waits_or_rests(e: Evidence, symbol: str) -> bool:
    """The item waits in the queue, or is a dead letter."""
    return symbol in e.redis["pending"] or symbol in e.redis["dead"]
