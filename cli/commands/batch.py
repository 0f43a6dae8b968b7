"""`assetq batch`: refreshes the critical assets now."""

from __future__ import annotations

import time
from typing import Any

import click

from cli.exits import CommandError, ExitCode
from cli.options import NumberRange, as_json
from cli.session import load_settings
from cli.show.causes import clause
from cli.show.output import note, print_json, print_table
from health.batches import SettledBatch, recent_batches
from health.next_call import next_call, next_permit
from health.observe import Observer
from health.texts import iso
from local.foreground import drain_for, open_session
from runtime.heartbeat import living
from worker.batch import begin
from worker.tasks import TickSession

_LOOK_S = 0.3
_SLICE_S = 1.0
_TELL_S = 10.0
_LOOK_AGAIN_S = 1.0


@click.command()
@click.option(
    "--timeout",
    "timeout_s",
    type=NumberRange(1, 24 * 3600),
    default=300,
    show_default=True,
    help="Seconds to wait for the result; the batch goes on after that.",
)
@as_json
def batch(timeout_s: float, json_: bool) -> None:
    """Refresh the critical assets now, beside the schedule, and wait for the result.

    Workers do it; if none is alive, this process does. Exit code 1 if an asset failed, 7 if the
    time is over.
    """
    settings = load_settings()
    with open_session(settings) as session:
        slot = begin(session.context, session.connection, session.capabilities, by_hand=True)
        session.ticks.ensure_drain()
        found = _await(session, slot, timeout_s)
    _report(found, json_)
    if not found.known:
        raise CommandError(
            f"not finished within {timeout_s:g} s: {', '.join(_open(found))} still pending. "
            "It goes on without this command; `assetq queue list` and `assetq limiter status` say "
            "why.",
            ExitCode.TIMEOUT,
        )
    if found.failed:
        raise CommandError(f"{len(found.failed)} of {len(found.record.assets)} assets failed.")


def _await(session: TickSession, slot: str, timeout_s: float) -> SettledBatch:
    """Wait until every asset has an outcome, or the time is over. Raises CommandError if the record
    is gone (Redis was emptied)."""
    end_s, progress = time.monotonic() + timeout_s, _Progress(session)
    while True:
        found = _find(session, slot)
        left_s = end_s - time.monotonic()
        if found.known or left_s <= 0:
            return found
        progress.tell(_open(found))
        if living(session.context.redis, session.context.keys, "worker"):
            time.sleep(min(_LOOK_S, left_s))
            continue
        outcome = drain_for(session, min(_SLICE_S, left_s))
        if outcome.signal is not None:
            raise click.exceptions.Exit(128 + outcome.signal)


def _find(session: TickSession, slot: str) -> SettledBatch:
    """Read the batch. A scheduled batch that begins meanwhile takes over what is still open; then
    its outcomes count."""
    for found in recent_batches(session.context.queue):
        if found.record.slot == slot:
            return found
    raise CommandError(
        "the batch's record is gone: Redis was emptied or restarted without its data. Start it "
        "again."
    )


def _open(found: SettledBatch) -> list[str]:
    return [symbol for symbol in found.record.assets if symbol not in found.outcomes]


class _Progress:
    """Prints what is awaited whenever that changes, and every ten seconds."""

    def __init__(self, session: TickSession) -> None:
        self._observer = Observer(session.context.settings, redis=session.context.redis)
        self._last: tuple[list[str], str | None] | None = None
        self._looked_s = self._said_s = float("-inf")

    def tell(self, symbols: list[str]) -> None:
        """Look again at most once a second."""
        if time.monotonic() - self._looked_s < _LOOK_AGAIN_S:
            return
        self._looked_s = time.monotonic()
        facts = self._observer.look()
        cause = next_call(facts, urgent=True)
        if cause and cause.key == "worker" and facts.state:  # this process works instead
            cause = next_permit(facts.state, urgent=True)
        what = (symbols, cause.key if cause else None)
        if what == self._last and time.monotonic() - self._said_s < _TELL_S:
            return
        self._last, self._said_s = what, time.monotonic()
        state = f"waits because {clause(cause, facts)}" if cause else "in work"
        note(f"{', '.join(symbols)}: {state}")


def _report(found: SettledBatch, json_: bool) -> None:
    record = found.record
    if json_:
        print_json(_document(found))
        return
    rows = []
    for symbol in record.assets:
        outcome = found.outcomes.get(symbol)
        rows.append((symbol, outcome.status if outcome else "waits", outcome and outcome.error))
    print_table(["symbol", "outcome", "why"], rows, empty="no critical assets are configured")
    click.echo(f"API calls used: {record.calls}")


def _document(found: SettledBatch) -> dict[str, Any]:
    record, outcomes = found.record, found.outcomes
    return {
        "slot": record.slot,
        "updated": [s for s in record.assets if s in outcomes and outcomes[s].ok],
        "failed": [{"symbol": symbol, "error": error} for symbol, error in found.failed],
        "waiting": _open(found),
        "api_calls_used": record.calls,
        "started_at": iso(record.started_at_ms),
        "finished_at": iso(record.finished_at_ms),
    }
