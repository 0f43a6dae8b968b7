"""Calls: what is claimed, how it ends, and both in one step."""

import secrets
from collections.abc import Sequence
from typing import Any, Required, TypedDict, Unpack

from queueing.errors import InvalidRequest
from queueing.models import Claimed, Hint, NotNow
from queueing.verdicts import Again, Done, Verdict
from queueing.views import QueueView
from queueing.wire import MAX_LEASE_MS, checked_span, claimed_of, verdict_args, whole

ITEM_VERSION = 1
"""Raise it when an item's payload or fields mean something that today's workers would misread;
they then leave such items alone. Fields that they may ignore need no new version."""


class Ending(TypedDict, total=False):
    """What is told of a call when it ends."""

    answered: Required[bool]
    """An HTTP response came, so the call's permit ends one window from now at most."""
    sent: bool
    """The request may have left this machine (assumed); without an answer the call's permit then
    lasts one window from now at least."""
    failed: bool | None
    """True: the call failed for reasons that are not its items'. False: it showed that calls work,
    as `Done` and `Again` do. None (assumed): unknown."""
    took_ms: int | None
    """How long the request took, for the histogram."""
    drain: str | None
    """A drain that will wait if there is nothing to do yet."""
    max_wait_ms: int | None


class Calls(QueueView):
    """Claims calls and ends them."""

    item_version = ITEM_VERSION
    lease_ms: int
    poison_after: int
    stream_max: int

    def claim(
        self,
        *,
        who: str = "worker",
        max_items: int = 1,
        drain: str | None = None,
        max_wait_ms: int | None = None,
        idle_mark: str | None = None,
        newest_call: tuple[str, int] | None = None,
    ) -> Claimed | NotNow:
        """Takes the call that is free now, and leases the most urgent item(s) to it.

        `who` begins the token, so that listings say whose call it is. `drain` names a drain that
        will wait if there is nothing to do yet. `idle_mark` is what `mark` returned, if it was
        learned after it that no call had been made for longer than a window. `newest_call` is the
        token and the time (`granted_at_ms`) of a call that is known elsewhere: where Redis has
        lost it, though it counts, all calls are held for a window.
        """
        asked = self._claim_args(who, max_items)
        reply = self._run(
            "claim",
            **asked,
            drain=drain,
            max_wait_ms=max_wait_ms,
            idle_mark=idle_mark,
            newest_call=newest_call and {"token": newest_call[0], "at_ms": newest_call[1]},
        )
        return _answer(asked["token"], reply)

    def end(self, claimed: Claimed, verdicts: Sequence[Verdict], **how: Unpack[Ending]) -> Hint:
        """Ends a call: each of its items gets a verdict, and events are published, in one step.

        Failed calls for different items, with no success in between, open the circuit breaker;
        calls under way then end with their items unchanged, where they would be retried or buried
        as transient.
        Raises LeaseLost with the symbols that are no longer this claim's; the others are ended.
        """
        reply = self._run("end", **self._end_args(claimed, verdicts, how))
        return Hint.from_reply(whole(reply))

    def end_and_claim(
        self,
        claimed: Claimed,
        verdicts: Sequence[Verdict],
        *,
        who: str = "worker",
        max_items: int = 1,
        **how: Unpack[Ending],
    ) -> Claimed | NotNow:
        """Ends a call as `end` does and, in the same step, claims as `claim` does what is due now.

        The first claim of a process is one by itself: it tells what is known of earlier calls.
        Raises LeaseLost as `end` does, and nothing is claimed then.
        """
        ended, asked = self._end_args(claimed, verdicts, how), self._claim_args(who, max_items)
        waits = {name: ended[name] for name in ("drain", "max_wait_ms") if name in ended}
        reply = self._run("end_and_claim", **ended, claim=asked | waits)
        return _answer(asked["token"], reply)

    def extend(self, claimed: Claimed, *, lease_ms: int | None = None) -> int:
        """Prolongs the lease from now on; returns its new end. Raises LeaseLost."""
        checked_span("lease_ms", lease_ms or self.lease_ms, 1, MAX_LEASE_MS)
        symbols = [item.symbol for item in claimed.items]
        reply = self._run(
            "extend", token=claimed.token, symbols=symbols, lease_ms=lease_ms or self.lease_ms
        )
        return int(whole(reply)["lease_until_ms"])

    def _claim_args(self, who: str, max_items: int) -> dict[str, Any]:
        if max_items < 1:
            raise InvalidRequest(f"max_items {max_items}: at least 1")
        return {
            "token": f"{who}:{secrets.token_hex(6)}",
            "lease_ms": self.lease_ms,
            "max_items": max_items,
            "poison_after": self.poison_after,
            "version": self.item_version,
        }

    def _end_args(
        self, claimed: Claimed, verdicts: Sequence[Verdict], how: Ending
    ) -> dict[str, Any]:
        told = {"sent": True} | {name: value for name, value in how.items() if value is not None}
        if "failed" not in told and any(isinstance(verdict, Done | Again) for verdict in verdicts):
            told["failed"] = False
        return told | {
            "token": claimed.token,
            "granted_at_ms": claimed.granted_at_ms,
            "leading": claimed.items[0].symbol,
            "verdicts": [verdict_args(verdict) for verdict in verdicts],
            "stream_max": self.stream_max,
        }


def _answer(token: str, reply: Any) -> Claimed | NotNow:
    if isinstance(reply, list):
        return claimed_of(token, reply)
    if "lost" in reply:
        whole(reply)
    return NotNow(Hint.from_reply(reply), reply.get("held_by"))
