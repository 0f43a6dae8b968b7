"""The findings of a check: ok, warn or fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cli.session import redis_at
from cli.show.errors import explain

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. `remedy` says what to do about a warning or failure."""

    check: str
    status: str
    text: str
    remedy: str | None = None


def ok(check: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(check, OK, text)


def warn(check: str, text: str, remedy: str) -> Finding:
    """It works, but not as it should."""
    return Finding(check, WARN, text, remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    """Assets are not refreshed, or soon will not be."""
    return Finding(check, FAIL, text, remedy)


def guarded(check: str, run: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The check's findings; an error of a server becomes one, so that the others still run."""
    try:
        yield from run()
    except Exception as error:  # noqa: BLE001 - what cannot be examined is a finding
        explained = explain(error, redis_at=redis_at())
        text = explained.lines[0] if explained else f"{type(error).__name__}: {error}"
        cause, _, remedy = text.partition(". ")
        yield fail(check, cause.rstrip("."), remedy or "Correct that, then run doctor again.")
