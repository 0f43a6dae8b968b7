"""Causes of trouble and waiting, as commands tell them; the words are those of `health.causes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cli.exits import CommandError, ExitCode
from health.causes import Cause
from health.facts import Facts, State
from health.next_call import next_call, next_refresh
from health.observe import Observer
from health.texts import clock, iso
from runtime.context import Context

_JUST_NOW_MS = 2_000


def look(context: Context) -> Facts:
    """One look at Redis, PostgreSQL and the processes; takes up to 2 s where a server is silent."""
    return Observer(context.settings, redis=context.redis).look()


def state_of(facts: Facts) -> State:
    """What Redis told. Raises CommandError with the words of the outage."""
    if facts.state is None:
        raise CommandError(str(facts.redis), ExitCode.UNREACHABLE)
    return facts.state


def told(cause: Cause, facts: Facts) -> str:
    """The cause and its times in one clause.

    A command that has just begun cannot tell since when it sees something: then it says nothing.
    """
    text = cause.text
    if cause.until_ms:
        text += f", until {clock(cause.until_ms, facts.now_ms)}"
    if cause.since_ms and cause.since_ms < facts.started_ms - _JUST_NOW_MS:
        text += f", since {clock(cause.since_ms, facts.now_ms)}"
    return text


def clause(cause: Cause, facts: Facts) -> str:
    """The same within a sentence."""
    text = told(cause, facts)
    name = text.startswith(("Redis", "RQ", "PostgreSQL"))
    return text if name else text[0].lower() + text[1:]


@dataclass(frozen=True)
class Wait:
    """What pending work, or a call, waits for; `cause` None: nothing holds it."""

    facts: Facts
    cause: Cause | None
    pending: bool = True

    @classmethod
    def of_refresh(cls, facts: Facts) -> Wait:
        """What the next refresh of pending work waits for."""
        pending = facts.state is None or facts.state.stats.pending > 0
        return cls(facts, next_refresh(facts) if pending else None, pending)

    @classmethod
    def of_call(cls, facts: Facts, *, urgent: bool) -> Wait:
        """What the next critical call, or the next other one, waits for."""
        return cls(facts, next_call(facts, urgent=urgent))

    def text(self) -> str:
        """For people, to follow "waits"."""
        if self.cause:
            return f"because {clause(self.cause, self.facts)}"
        return (
            "for nothing: a call is free now" if self.pending else "for nothing: no work is pending"
        )

    def as_dict(self) -> dict[str, Any]:
        """With stable keys, for --json; null where nothing holds it."""
        until_ms = self.cause.until_ms if self.cause else None
        return {
            "waits_for": self.cause.key if self.cause else None,
            "why": told(self.cause, self.facts) if self.cause else None,
            "until": iso(until_ms),
            "wait_seconds": (until_ms - self.facts.now_ms) / 1000 if until_ms else 0.0,
            "remedy": self.cause.remedy if self.cause else None,
        }
