"""The judge: which promises did a run break? It knows the promises and the evidence, no code.

python -m tests.chaos.checker evidence.json
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.evidence import PREFIX, Evidence, Row

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


def _waits_or_rests(e: Evidence, symbol: str) -> bool:
    return symbol in e.redis["pending"] or symbol in e.redis["dead"]


@promise("nothing accepted is lost")
def nothing_lost(e: Evidence) -> Iterator[str]:
    """What the queue acknowledged waits, rests among the dead, or was refreshed since."""
    told = _event_times(e)
    accepted = {"enqueued", "raised", "pending"}
    newest = {symbol: at for symbol, at, what in sorted(e.requests, key=_at) if what in accepted}
    for symbol, at in newest.items():
        observed = e.rows.get(symbol, {}).get("observed_at_ms", 0)
        if not _waits_or_rests(e, symbol) and max(observed, told.get(symbol, 0)) < at:
            yield f"{symbol} was accepted {at - observed} ms after its last refresh, and is gone"
    for symbol in e.assets:
        if symbol not in e.rows and not _waits_or_rests(e, symbol):
            yield f"{symbol} was never refreshed, and waits nowhere"


def _at(request: tuple[str, int, str]) -> int:
    return request[1]


def _price(raw: Row) -> tuple[datetime, int]:
    """(as_of, observed_at_ms) of a row or an event: what is newer replaces."""
    return datetime.fromisoformat(raw["timestamp"]), int(raw["observed_at_ms"])


@promise("old never replaces new")
def rows_monotone(e: Evidence) -> Iterator[str]:
    """Each stored price is newer than the one before it; the row is the last of them."""
    last: dict[str, Row] = {}
    for entry in e.history:
        symbol, price = entry["symbol"], entry["price"]
        if symbol in last and _price(price) <= _price(last[symbol]):
            yield f"{symbol}: {_price(price)[1]} replaced {_price(last[symbol])[1]}"
        last[symbol] = price
    for symbol, row in e.rows.items():
        if symbol in last and row != last[symbol]:
            yield f"{symbol}: its row is not what was stored last"


@promise("events are as if once, in order")
def events_in_order(e: Evidence) -> Iterator[str]:
    """No event twice, none older than one before it."""
    last: dict[str, Row] = {}
    seen: set[tuple[str, int]] = set()
    for _, event in e.redis["updates"]:
        if not isinstance(event, dict):
            yield f"an unreadable event {event!r}"[:80]
            continue
        symbol = event["symbol"]
        name = (symbol, event["observed_at_ms"])
        if name in seen:
            yield f"{symbol}: {name[1]} was told twice"
        elif symbol in last and _price(event) < _price(last[symbol]):
            yield f"{symbol}: {name[1]} was told after {last[symbol]['observed_at_ms']}"
        seen.add(name)
        last[symbol] = event


@promise("events match rows")
def events_match_rows(e: Evidence) -> Iterator[str]:
    """What was told was stored; what was stored last was told, or its item still waits."""
    stored = {(h["symbol"], h["price"]["observed_at_ms"]): h["price"] for h in e.history}
    told: dict[str, int] = {}
    for _, event in e.redis["updates"]:
        if not isinstance(event, dict):
            continue
        symbol, observed = event["symbol"], event["observed_at_ms"]
        price = stored.get((symbol, observed))
        if price is None:
            yield f"{symbol}: the event of {observed} was never a row"
        elif price["last_price"] != event["last_price"] or _price(price) != _price(event):
            yield f"{symbol}: the event of {observed} tells another price than the row"
        told[symbol] = max(told.get(symbol, 0), observed)
    for symbol, row in e.rows.items():
        if row["observed_at_ms"] > told.get(symbol, 0) and not _any_waits(e, symbol):
            yield f"{symbol}: the row of {row['observed_at_ms']} was never told"


def _any_waits(e: Evidence, symbol: str) -> bool:
    """The price or the bars of an asset are still to be done, or died."""
    return _waits_or_rests(e, symbol) or _waits_or_rests(e, f"{symbol}/5m")


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


def _of_market(row: Row) -> str | None:
    """The letter of the tickers of a market that was asked for as a whole."""
    found = re.fullmatch(r"/v2/snapshot/locale/global/markets/(\w+)/tickers/?", row["path"])
    return {"forex": "C:", "crypto": "X:"}[found[1]] if found else None


def _asked(e: Evidence, row: Row) -> frozenset[str]:
    """The tickers that a request asked for."""
    market = _of_market(row)
    if market is None:
        return frozenset(row["tickers"])
    return frozenset(ticker for ticker in e.assets.values() if ticker.startswith(market))


def _is_of(called: frozenset[str], row: Row, asked: frozenset[str]) -> bool:
    """Whether a call for these tickers may have made the request. A whole market is asked for on
    behalf of many of its tickers, and of some of another market."""
    if _of_market(row) is None:
        return called == asked
    return len(called) > 250 and not called.isdisjoint(asked)


@promise("answers are stored")
def answers_stored(e: Evidence) -> Iterator[str]:
    """An answered call is in the audit, unless a fault hit it; its assets were refreshed since."""
    open_calls = [(call["at"], frozenset(call["tickers"])) for call in e.calls]
    symbols = {ticker: symbol for symbol, ticker in e.assets.items()}
    unmatched = []
    for row in e.arrivals:
        if row["status"] is None:
            continue
        wanted, wall = _asked(e, row), row["wall_s"]
        earliest = wall - e.rules.send_s - 1
        match = next(
            (
                call
                for call in open_calls
                for by_clock in (call[0], call[0] - e.rules.clock_step_s)
                if _is_of(call[1], row, wanted) and earliest <= by_clock <= wall + 0.1
            ),
            None,
        )
        if match:
            open_calls.remove(match)
            continue
        unmatched.append(row)
        if row["status"] != 200 or "snapshot" not in row["path"]:
            continue
        for symbol in (symbols[t] for t in row["tickers"] if t in symbols):
            observed = e.rows.get(symbol, {}).get("observed_at_ms", 0) / 1000
            if observed < earliest and not _waits_or_rests(e, symbol):
                yield f"{symbol}: the answer of {wall:.3f} was lost, and it waits nowhere"
    if len(unmatched) > e.disturbances:
        yield f"{len(unmatched)} answers are in no audit row, {e.disturbances} could be excused"


@promise("rows come from calls")
def rows_have_calls(e: Evidence) -> Iterator[str]:
    """No price without a request for it that arrived after its grant, within the send budget."""
    arrived: dict[str, list[float]] = {}
    for row in e.arrivals:
        for ticker in _asked(e, row):
            arrived.setdefault(ticker, []).append(row["wall_s"])
    for entry in e.history:
        granted = entry["price"]["observed_at_ms"] / 1000
        times = arrived.get(e.assets.get(entry["symbol"], ""), [])
        if not any(
            by_clock - 0.1 <= at <= by_clock + e.rules.send_s + 1
            for by_clock in (granted, granted - e.rules.clock_step_s)
            for at in times
        ):
            yield f"{entry['symbol']}: nothing arrived for the price of {granted:.3f}"


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
