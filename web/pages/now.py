"""GET /: the window as a picture, what waits and for what, and the last batches."""

from dataclasses import dataclass

from flask import Response

from db.calls import StoredCall, calls_by_id
from health.batches import SettledBatch, by_hand
from health.facts import Facts, State
from health.forecast import forecast
from health.freshness import Freshness
from health.next_call import next_call, next_refresh, notes
from health.outlook import Outlook
from health.waits import listing
from health.window import SHOWN, held_permits
from queueing import Priority
from web.database import Away
from web.pages.picture import Picture, draw
from web.site import render, site

SHOWN_ITEMS = 50
SHOWN_BATCHES = 8


@dataclass(frozen=True)
class BatchRow:
    """One batch as it is shown."""

    batch: SettledBatch
    by_hand: bool
    late_ms: int
    """From its slot to its first call; to its begin where no call was needed."""
    outcomes: tuple[tuple[str, str, str | None], ...]
    """Asset, outcome, error."""


def show() -> Response:
    """Answer with the page."""
    here = site()
    facts = here.observer.look()
    state = facts.state
    values = _values(facts, state) if state else {}
    return render("now.html", "Now", facts, state=state, **values)


def _values(facts: Facts, state: State) -> dict[str, object]:
    here = site()
    context = here.observer.context
    items = listing(context.queue, SHOWN_ITEMS)
    held = held_permits(context, state.quota, _calls(facts, state))
    picture: Picture | None = None
    if state.quota.limit is not None:
        picture = draw(state, held, context.queue.policy)
    return {
        "picture": picture,
        "expected": forecast(items, Outlook.read(context, facts)),
        "held": held,
        "window_ms": context.queue.policy.window_ms,
        "leased": [item for item in items if item.state == "leased"],
        "queued": [item for item in items if item.state == "queued"],
        "delayed": [item for item in items if item.state == "delayed"],
        "bands": [(band.name.lower(), state.stats.queued[band]) for band in Priority],
        "urgent": next_call(facts, urgent=True),
        "other": next_call(facts, urgent=False),
        "refresh": next_refresh(facts),
        "batches": [_batch(batch) for batch in state.batches[:SHOWN_BATCHES]],
        "notes": list(notes(state)),
        "fresh": _fresh(facts),
    }


def _calls(facts: Facts, state: State) -> dict[str, StoredCall]:
    """The audit rows of the permits in use; none while PostgreSQL is away."""
    ids = [permit.call_id for permit in state.quota.permits[:SHOWN]]
    if not ids:
        return {}
    try:
        with site().database.connection(facts.database) as connection:
            return calls_by_id(connection, ids)
    except Away:
        return {}


def _fresh(facts: Facts) -> tuple[int, int] | None:
    """How many assets are as fresh as they should be, of how many; None: not known."""
    try:
        counts = site().board.view(facts).counts
    except Away:
        return None
    good = (Freshness.FRESH, Freshness.CLOSED, Freshness.PENDING)
    total = sum(counts.values()) - counts.get(Freshness.PAUSED, 0)
    return sum(counts.get(state, 0) for state in good), total


def _batch(batch: SettledBatch) -> BatchRow:
    record = batch.record
    first_ms = record.first_call_at_ms or record.started_at_ms
    outcomes = []
    for symbol in record.assets:
        outcome = batch.outcomes.get(symbol)
        word = outcome.status if outcome else "open"
        outcomes.append((symbol, word, outcome.error if outcome else None))
    late_ms = max(0, first_ms - record.planned_at_ms)
    return BatchRow(batch, by_hand(record), late_ms, tuple(outcomes))
