"""What goes to the scripts and comes back: arguments that are checked, replies that are read."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from queueing.batches import Batch
from queueing.errors import InvalidRequest, LeaseLost
from queueing.foreign import figures, json_object
from queueing.models import Claimed, DeadLetter, Death, Hint, Item, Outcome, Priority, read_payload
from queueing.verdicts import Again, Bury, Done, GiveBack, Retry, Verdict

MAX_STEP = 100
"""Items that one script handles at most: Redis serves no other client meanwhile."""
MAX_LEASE_MS = 600_000
MAX_DELAY_MS = 24 * 3600 * 1000
_MAX_ERROR = 1000
_PRIORITIES = frozenset(Priority)
T = TypeVar("T")
_OUTCOMES = {"e": Outcome.ENQUEUED, "r": Outcome.RAISED, "p": Outcome.PENDING,
             "f": Outcome.REFUSED, "d": Outcome.DEAD}  # fmt: skip
_REASONED = "fd"
_OF_A_LETTER = {"died_at_ms", "attempts", "crashes", "priority", "version", "deaths"}
_encode = json.JSONEncoder(separators=(",", ":")).encode
_SLOT = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_SYMBOL = re.compile(r"[A-Za-z0-9._:/-]{1,64}")


def checked_symbol(symbol: str) -> str:
    """The symbol; InvalidRequest for what is none."""
    if not _SYMBOL.fullmatch(symbol):
        raise InvalidRequest(
            f"symbol {symbol[:70]!r}: use 1 to 64 letters, digits or one of '. _ : / -'"
        )
    return symbol


def checked_priority(priority: int) -> int:
    """The priority; InvalidRequest for what is none."""
    if priority not in _PRIORITIES:
        raise InvalidRequest(f"priority {priority!r}: use 1 to {max(Priority)}")
    return int(priority)


def checked_span(name: str, span_ms: int, least: int, most: int) -> int:
    """The span; InvalidRequest beyond its bounds."""
    if not least <= span_ms <= most:
        raise InvalidRequest(f"{name} {span_ms}: {least} to {most}")
    return int(span_ms)


def rows_of(value: Any) -> list[Any]:
    """A list from Lua: an empty one arrives as an empty object."""
    return list(value) if value else []


def whole(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply; LeaseLost if it names items that are no longer the caller's."""
    if lost := rows_of(reply["lost"]):
        raise LeaseLost(lost)
    return reply


def text_of(value: Any) -> str:
    """A text, whether the client decodes or not."""
    return value.decode() if isinstance(value, bytes) else str(value)


def payload_text(payload: Mapping[str, Any]) -> str:
    """The payload as the queue keeps it: a JSON text that no script reads."""
    return _encode(dict(payload)) if payload else "{}"


def outcomes(
    symbols: Iterable[str], letters: str, reasons: Iterable[Any]
) -> tuple[tuple[str, Outcome, str | None], ...]:
    """What became of each symbol, from a letter for each and the reasons of those that have one."""
    told = iter(reasons)
    return tuple(
        (symbol, _OUTCOMES[letter], text_of(next(told)) if letter in _REASONED else None)
        for symbol, letter in zip(symbols, letters, strict=True)
    )


def claimed_of(token: str, reply: Sequence[Any]) -> Claimed:
    """A granted call, as claim.lua tells it."""
    now_ms, send_by_ms, lease_until_ms, ahead_ms, next_at_ms, why, waiting, *rows = reply
    return Claimed(
        token,
        tuple(items_of(rows, ahead_ms)),
        granted_at_ms=now_ms,
        send_by_ms=send_by_ms,
        lease_until_ms=lease_until_ms,
        hint=Hint(now_ms, next_at_ms, why and text_of(why), waiting=bool(waiting)),
    )


def items_of(rows: Sequence[Any], ahead_ms: int) -> Iterator[Item]:
    """The items of a claim, from symbols and texts in turn, with instants of Redis' own clock."""
    for symbol, text in zip(rows[::2], rows[1::2], strict=True):
        raw = json.loads(text)
        raw["symbol"] = text_of(symbol)
        raw["enqueued_at_ms"] -= ahead_ms
        yield Item.from_reply(raw)


def in_steps(rows: Sequence[T], size: int = MAX_STEP) -> Iterator[Sequence[T]]:
    """The rows in parts that one script handles within a few milliseconds; none: one empty part."""
    for start in range(0, len(rows) or 1, size):
        yield rows[start : start + size]


def checked_batch(batch: Batch, symbols: Sequence[str]) -> None:
    """Raises InvalidRequest if the record of the batch could not be kept."""
    if not _SLOT.fullmatch(batch.slot):
        raise InvalidRequest(f"slot {batch.slot!r}: use 1 to 40 letters, digits, '_', '.' or '-'")
    if strangers := set(symbols) - set(batch.assets):
        raise InvalidRequest(
            f"batch {batch.slot}: {', '.join(sorted(strangers))} not among its assets"
        )


def batch_args(batch: Batch, *, first: bool, last: bool) -> dict[str, Any]:
    """A batch as enqueue.lua reads it, with the first and the last of its items."""
    known = batch.outcomes if first else {}
    return {
        "slot": batch.slot,
        "planned_at_ms": batch.planned_at_ms,
        "next_at_ms": batch.next_at_ms,
        "interval_ms": batch.interval_ms,
        "next_calls": batch.next_calls,
        "ttl_ms": batch.ttl_ms,
        "assets": list(batch.assets),
        "outcomes": {
            symbol: {"status": outcome.status, "error": outcome.error or ""}
            for symbol, outcome in known.items()
        },
        "last": last,
    }


def verdict_args(verdict: Verdict) -> dict[str, Any]:
    """A verdict as end.lua reads it. Raises InvalidRequest."""
    row: dict[str, Any]
    match verdict:
        case Done(symbol, channel, event):
            row = {"symbol": symbol, "verb": "done", "channel": channel, "event": event}
        case Again(symbol, priority, channel, event):
            row = {
                "symbol": symbol,
                "verb": "again",
                "priority": checked_priority(priority),
                "channel": channel,
                "event": event,
            }
        case Retry(symbol, delay_ms, priority, error):
            row = {
                "symbol": symbol,
                "verb": "retry",
                "delay_ms": checked_span("delay_ms", delay_ms, 0, MAX_DELAY_MS),
                "priority": checked_priority(priority),
                "error": error[:_MAX_ERROR],
            }
        case GiveBack(symbol, delay_ms, reason, solo, group):
            row = {
                "symbol": symbol,
                "verb": "give_back",
                "delay_ms": checked_span("delay_ms", delay_ms, 0, MAX_DELAY_MS),
                "error": reason and reason[:_MAX_ERROR],
                "solo": solo or None,
                "group": group,
            }
        case Bury(symbol, kind, error):
            row = {
                "symbol": symbol,
                "verb": "bury",
                "kind": kind.value,
                "error": error[:_MAX_ERROR],
            }
    return {name: value for name, value in row.items() if value is not None}


def dead_letter(symbol: str, text: str | bytes | None) -> DeadLetter | None:
    """A dead letter as it is kept; None for an entry that no script wrote."""
    raw = json_object(text)
    kind, reason = raw.get("kind"), raw.get("reason")
    told = figures({"version": 1, "deaths": 0} | raw)
    if kind not in tuple(Death) or reason is None or not told.keys() >= _OF_A_LETTER:
        return None
    return DeadLetter(
        symbol=symbol,
        kind=Death(kind),
        reason=str(reason),
        payload=read_payload(raw.get("payload")),
        **{name: told[name] for name in _OF_A_LETTER},
    )
