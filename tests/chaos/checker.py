"""The judge: which promises did a run break? It knows the promises and the evidence, no code.

python -m tests.chaos.checker evidence.json
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.chaos import prices  # noqa: F401 - registers its promises
from tests.chaos.evidence import PREFIX, Evidence, Row
from tests.chaos.promises import judge, promise, waits_or_rests

PERMANENT = {
    PREFIX + name
    for name in (
        *("queue", "pending", "items", "delayed", "leases", "dead", "dead:items"),
        *("window", "quota", "counters", "timings", "overtaken", "updates"),
        "scheduler:entries",
    )
}
ITEM_FIELDS = {"payload", "priority", "enqueued_at_ms"}
_BURST_MS = 1_000
"""How far behind its request an item's place may be: in a burst, places run ahead of the clock."""
DEATHS = {"transient", "invalid", "poison"}
POISON_DEATHS = 3
_STARTING_MS = 5_000
_MET_BY_CALLS, _LOCK_MS = ("postgres locked rows",), 6_000
"""What only a call can find out, and how long it takes a call to find a lock."""
_NAMED_WITHIN_MS = 4_000
OUTCOMES = {"updated", "failed", "current"}
ENTRIES_MS = {"every-bars": 300_000, "every-batch": 60_000, "every-secondary": 120_000}
"""The schedule of a run: entry → interval."""
OFFSET_MS = {"every-bars": 15_000}
"""How long after the multiples of its interval an entry's slot begins."""


@promise("never over quota")
def over_quota(e: Evidence) -> Iterator[str]:
    """By first byte: limit + 1 arrivals span at least a window, whatever the clock does."""
    rows = sorted(e.arrivals, key=lambda row: row["mono_ns"])
    for first, last in zip(rows, rows[e.rules.limit :], strict=False):
        span = (last["mono_ns"] - first["mono_ns"]) / 1e9
        if span < e.rules.window_s:
            yield f"{e.rules.limit + 1} arrivals within {span:.3f} s"


@promise("one state each")
def one_state(e: Evidence) -> Iterator[str]:
    """pending = queue ∪ delayed ∪ leases, each in one of them, none of them dead."""
    places = {name: set(e.redis[name]) for name in ("queue", "delayed", "leases", "dead")}
    pending = set(e.redis["pending"])
    for symbol in sorted(pending.union(*places.values(), e.redis["items"])):
        at = [name for name, members in places.items() if symbol in members]
        alive = [name for name in at if name != "dead"]
        if len(at) > 1:
            yield f"{symbol} is in {' and '.join(at)}"
        if alive and symbol not in pending:
            yield f"{symbol} is in {alive[0]}, not in pending"
        if symbol in pending and not alive:
            yield f"{symbol} is pending and nowhere: its dedup is stuck"
        if symbol in pending and symbol not in e.redis["items"]:
            yield f"{symbol} is pending without an item"
        if symbol in e.redis["items"] and symbol not in pending:
            yield f"{symbol} has an item, and is not pending"


@promise("items are whole")
def whole_items(e: Evidence) -> Iterator[str]:
    """Fields, the token of a lease and the score of a place agree."""
    for symbol, item in e.redis["items"].items():
        if not isinstance(item, dict) or not item.keys() >= ITEM_FIELDS:
            yield f"{symbol} has an unreadable item"
            continue
        if ("token" in item) != (symbol in e.redis["leases"]):
            yield f"{symbol} has {'a' if 'token' in item else 'no'} token, leased or not"
        score = e.redis["queue"].get(symbol)
        if score is not None:
            yield from _misplaced(symbol, item, score)
        elif "score" not in item and {symbol} & {*e.redis["leases"], *e.redis["delayed"]}:
            yield f"{symbol} left the queue, and its item knows no place"


def _misplaced(symbol: str, item: Mapping[str, Any], score: float) -> Iterator[str]:
    """An item that never left the queue keeps no score: its place is that of its request."""
    asked = item["priority"] * 1e13 + item["enqueued_at_ms"]
    first, last = (float(item["score"]),) * 2 if "score" in item else (asked, asked + _BURST_MS)
    if not first <= score <= last:
        yield f"{symbol} stands at {score:.4f}, its item says {first:.4f}"
    if int(score // 1e13) != item["priority"]:
        yield f"{symbol} stands in band {int(score // 1e13)}, its item says {item['priority']}"


@promise("the dead have a reason")
def dead_with_reason(e: Evidence) -> Iterator[str]:
    for symbol in sorted(set(e.redis["dead"]) ^ set(e.redis["dead_items"])):
        yield f"{symbol} is half a dead letter"
    for symbol, letter in e.redis["dead_items"].items():
        told = letter if isinstance(letter, dict) else {}
        if told.get("kind") not in DEATHS or not told.get("reason"):
            yield f"{symbol} died without kind and reason"


def _event_times(e: Evidence) -> dict[str, int]:
    """symbol → ms of its newest event."""
    return {
        event["symbol"]: int(entry_id.split("-")[0])
        for entry_id, event in e.redis["updates"]
        if isinstance(event, dict)
    }


@promise("nothing accepted is lost")
def nothing_lost(e: Evidence) -> Iterator[str]:
    """What the queue acknowledged waits, rests among the dead, or was refreshed since."""
    told = _event_times(e)
    accepted = {"enqueued", "raised", "pending"}
    newest = {symbol: at for symbol, at, what in sorted(e.requests, key=_at) if what in accepted}
    for symbol, at in newest.items():
        observed = e.rows.get(symbol, {}).get("observed_at_ms", 0)
        if not waits_or_rests(e, symbol) and max(observed, told.get(symbol, 0)) < at:
            yield f"{symbol} was accepted {at - observed} ms after its last refresh, and is gone"
    for symbol in e.assets:
        if symbol not in e.rows and not waits_or_rests(e, symbol):
            yield f"{symbol} was never refreshed, and waits nowhere"


def _at(request: tuple[str, int, str]) -> int:
    return request[1]


@promise("batches are recorded")
def batches_complete(e: Evidence) -> Iterator[str]:
    """Each asset of a batch has an outcome, is in a later batch, or still waits in this one."""
    batches = e.redis["batches"]
    slots = sorted(batches, key=lambda slot: _begun_ms(e, batches[slot]))
    later: set[str] = set()
    for slot in reversed(slots):
        record = e.redis["batches"][slot]
        if not record.keys() >= {"slot", "assets", "planned_at_ms", "started_at_ms"}:
            yield f"batch {slot} has no whole record"
            continue
        assets = record["assets"]
        open_ones = []
        for symbol in assets:
            outcome = _load(record.get(f"outcome:{symbol}", "null"))
            if outcome and outcome["status"] in OUTCOMES:
                continue
            item = e.redis["items"].get(symbol)
            waits = isinstance(item, dict) and item.get("batch") == slot
            if symbol not in later and not waits:
                yield f"batch {slot} lost the outcome of {symbol}"
            open_ones.append(symbol)
        if not open_ones and "finished_at_ms" not in record:
            yield f"batch {slot} has every outcome and no end"
        later |= set(assets)
    if not slots:
        yield "no batch was begun"


def _begun_ms(e: Evidence, record: Row) -> float:
    """When a batch began by this machine's clock, though that of Redis was ahead."""
    begun_ms = float(record.get("started_at_ms", 0))
    by_clock_ms = begun_ms - e.rules.clock_step_s * 1000
    ahead = ((since, until) for since, until, kind, _ in e.troubles if kind == "redis clock")
    if any(since <= by_clock_ms <= until + _STARTING_MS for since, until in ahead):
        return by_clock_ms
    return begun_ms


def _load(text: str) -> Any:
    return json.loads(text)


@promise("the schedule is whole")
def schedule_whole(e: Evidence) -> Iterator[str]:
    """All entries stand, at a slot that is to come, with the job that RQ-scheduler reads.

    That of bars is there only where calls are not counted.
    """
    for name in sorted(set(ENTRIES_MS) - {"every-bars"} - set(e.redis["entries"])):
        yield f"{name} is missing"
    for name, at in e.redis["entries"].items():
        if name not in ENTRIES_MS:
            yield f"{name} is no entry of ours"
            continue
        if (at * 1000 - OFFSET_MS.get(name, 0)) % ENTRIES_MS[name]:
            yield f"{name} runs at {at:.0f}, which is no slot"
        if at * 1000 > e.redis["now_ms"] + ENTRIES_MS[name]:
            yield f"{name} runs at {at:.0f}: a slot is left out"
        if not e.redis["entry_jobs"].get(name):
            yield f"{name} has lost its job"


@promise("no key stays for ever")
def no_leaks(e: Evidence) -> Iterator[str]:
    """A key has a TTL or is permanent by intent; a tick without either is in a list of RQ's."""
    for key, ttl in sorted(e.redis["ttls"].items()):
        if ttl == -1 and key not in PERMANENT:
            yield f"{key} has no TTL"
    known = {*e.redis["rq_known"], *ENTRIES_MS}
    for key, ttl in sorted(e.redis["rq_ttls"].items()):
        if key.startswith("rq:job:") and ttl == -1 and key.removeprefix("rq:job:") not in known:
            yield f"{key} has no TTL and is in no list"


@promise("an expired lease is taken up")
def recovered(e: Evidence) -> Iterator[str]:
    """Within seconds, apart from times in which nobody could; and none is left at the end."""
    for symbol, deadline, at in e.recoveries:
        late = net_recovery_ms(e, deadline, at)
        if late > e.rules.recovery_s * 1000:
            yield f"{symbol} was taken up {late / 1000:.1f} s after its lease"
    for symbol, deadline in e.redis["leases"].items():
        if e.redis["now_ms"] - deadline > e.rules.recovery_s * 1000:
            yield f"{symbol} is still leased, {e.redis['now_ms'] - deadline:.0f} ms too long"


def net_recovery_ms(e: Evidence, deadline: int, at: int) -> int:
    """The time from a deadline without what is excused."""
    late, since = 0, deadline
    for begin, end, _ in sorted(e.excused):
        late += max(0, min(begin, at) - since)
        since = max(since, min(end, at))
    return late + max(0, at - since)


@promise("an orderly end takes 25 s at most")
def ended_in_time(e: Evidence) -> Iterator[str]:
    yield from e.late


@promise("no process ends by itself")
def nothing_ended(e: Evidence) -> Iterator[str]:
    """Only a login or a right that is missing may end a process: no waiting mends them."""
    without_rights = [(since, to) for since, to, kind, _ in e.troubles if kind == "redis rights"]
    told_ms = _STARTING_MS + e.rules.frozen_s * 1000
    for at, what in e.ended:
        if not any(since <= at <= until + told_ms for since, until in without_rights):
            yield what


@promise("poison needs deaths")
def poison_needs_deaths(e: Evidence) -> Iterator[str]:
    for symbol, letter in e.redis["dead_items"].items():
        if letter.get("kind") == "poison" and e.deaths.get(symbol, 0) < POISON_DEATHS:
            yield f"{symbol} is poison after {e.deaths.get(symbol, 0)} deaths"


def _called(e: Evidence, since_ms: int, until_ms: int) -> bool:
    """A call was made then; none is, for instance, in the window after a restart of Redis."""
    return any(since_ms <= row["wall_s"] * 1000 <= until_ms for row in e.arrivals)


@promise("health names the cause while it lasts")
def causes_named(e: Evidence) -> Iterator[str]:
    for since, until, kind, words in e.troubles:
        if until - since < _NAMED_WITHIN_MS:  # the run ended too early
            continue
        if kind in _MET_BY_CALLS and not _called(e, since, until - _LOCK_MS):
            continue
        said = {reason for at, reasons in e.health if since <= at <= until for reason in reasons}
        if words and not any(word in reason.lower() for reason in said for word in words):
            yield f"{kind} for {(until - since) / 1000:.1f} s: {sorted(said)}"


def summary(e: Evidence) -> dict[str, Any]:
    """The figures of a run."""
    kinds = Counter(letter["kind"] for letter in e.redis["dead_items"].values())
    raw = [at - deadline for _, deadline, at in e.recoveries]
    net = [net_recovery_ms(e, deadline, at) for _, deadline, at in e.recoveries]
    return {
        "arrivals": len(e.arrivals),
        "prices stored": len(e.history),
        "events": len(e.redis["updates"]),
        "batches": len(e.redis["batches"]),
        "requests acknowledged": len(e.requests),
        "expired leases": len(raw),
        "slowest recovery s": round(max(net, default=0) / 1000, 1),
        "slowest recovery with outages s": round(max(raw, default=0) / 1000, 1),
        "dead": dict(kinds),
        "still pending": len(e.redis["pending"]),
    }


def main() -> int:
    """0: every promise was kept."""
    evidence = Evidence.load(Path(sys.argv[1]))
    print(summary(evidence))
    broken = judge(evidence)
    for one in broken:
        print(f"BROKEN {one}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
