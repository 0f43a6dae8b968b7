"""The permits of the window, each with the call that holds it and what that call is for."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.calls import StoredCall
from health.waits import leased
from queueing import Permit, QuotaStatus
from queueing.views import QueueView
from runtime.context import Context

SHOWN = 60
"""The most permits that are looked at one by one."""
_LEASES = 500


@dataclass(frozen=True)
class HeldPermit:
    """A permit that counts now; instants in ms of Redis' clock."""

    permit: Permit
    state: str
    """in flight, answered, or counted (made elsewhere, or its worker died)"""
    assets: str
    """What the call is for; empty if that is not known."""
    began_ms: int | None
    """When it was granted; None: not known."""
    answered_ms: int | None = None


def held_permits(
    context: Context, quota: QuotaStatus, calls: Mapping[str, StoredCall]
) -> list[HeldPermit]:
    """Return the permits in use, those that end first in front; `calls` are audit rows by id."""
    symbols = leased_symbols(context.queue)
    return [_held(permit, quota, symbols, calls) for permit in quota.permits[:SHOWN]]


def leased_symbols(queue: QueueView) -> dict[str, list[str]]:
    """Return call id → the symbols that are leased to this call. Raises RedisError."""
    found: dict[str, list[str]] = {}
    for one in leased(queue, _LEASES):
        found.setdefault(one.call_id or "", []).append(one.item.symbol)
    return found


def _held(
    permit: Permit,
    quota: QuotaStatus,
    leased_to: Mapping[str, list[str]],
    calls: Mapping[str, StoredCall],
) -> HeldPermit:
    if symbols := leased_to.get(permit.call_id):
        more = f" and {len(symbols) - 3} more" if len(symbols) > 3 else ""
        return HeldPermit(permit, "in flight", ", ".join(symbols[:3]) + more, None)
    if call := calls.get(permit.call_id):
        began_ms = int(call.started_at.timestamp() * 1000)
        answered_ms = began_ms + call.latency_ms
        state = "answered" if call.status else "counted"
        return HeldPermit(permit, state, call.names, began_ms, answered_ms)
    return HeldPermit(permit, "counted", "", None)
