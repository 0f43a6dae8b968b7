"""What may be changed on the pages, one function for each right.

Each takes the fields of a form and returns a sentence that tells what was done. A mistake in a
field, or a refusal, is a Refused.
"""

from collections.abc import Callable, Mapping

from db.providers import ProviderRepository
from db.symbols import StoredAsset, SymbolRepository
from health.pending import Pending
from health.texts import names
from queueing import DeadLetter, Outcome, PolicyMismatch, Priority, Request
from runtime.context import Context
from web.access import Right
from web.database import Away
from web.site import Site, hms
from worker import tracking
from worker.ticks import start_drain
from worker.work import price_request, request_again, unusable

Form = Mapping[str, str]
LONGEST_MINUTES = 24 * 60
_MOST_CALLS = 10_000


class Refused(Exception):
    """Nothing was changed; the text says why."""


def refresh(site: Site, form: Form) -> str:
    """Ask for an asset's price before all that is not critical."""
    context, symbol = site.observer.context, form.get("symbol", "")
    asset = _asset(site, symbol)
    band = min(asset.priority, Priority.HIGH)
    _enqueue(context, [(price_request(asset), band)])
    pending = Pending.look(context, site.observer.look())
    expected = pending.of(symbol)
    why = f": {expected.why()}" if expected.why() else ""
    return f"{symbol} is asked for; expected {expected.text(pending.now_ms)}{why}."


def dead(site: Site, form: Form) -> str:
    """Put dead letters back into the queue, or delete them: one, or all (`*`)."""
    context, symbol = site.observer.context, form.get("symbol", "")
    letters = [x for x in context.queue.dead() if symbol in ("*", x.symbol)]
    if not letters:
        raise Refused(f"{symbol[:64]} is not among the dead letters.")
    told = names([letter.symbol for letter in letters])
    match form.get("do"):
        case "retry":
            _enqueue(context, [(_again(site, letter), letter.priority) for letter in letters])
            return f"Put back into the queue: {told}."
        case "drop":
            context.queue.drop_dead([letter.symbol for letter in letters])
            return f"Deleted: {told}. The next round asks for these assets again."
    raise Refused("do: retry or drop.")


def pause(site: Site, form: Form) -> str:
    """Stop asking for an asset, or ask for it again and at once."""
    context, symbol = site.observer.context, form.get("symbol", "")
    _asset(site, symbol, paused=True)
    change = {"pause": tracking.pause, "resume": tracking.resume}.get(form.get("do", ""))
    if change is None:
        raise Refused("do: pause or resume.")
    with site.database.connection() as connection:
        changed = change(context, connection, [symbol])
    if form["do"] == "pause":
        return f"{symbol} is paused." if changed else f"{symbol} was paused before."
    return f"{symbol} is asked for again." if changed else f"{symbol} was not paused."


def block(site: Site, form: Form) -> str:
    """Let no call go to the provider for some minutes, or lift a block."""
    context = site.observer.context
    lift = form.get("do") == "lift"
    minutes = 0 if lift else _number(form, "minutes", LONGEST_MINUTES)
    until_ms = context.limiter.block(minutes * 60_000, "blocked by hand", force=lift)
    context.queue.wake()
    return "Calls are not blocked." if lift else f"Calls are blocked until {hms(until_ms)}."


def consume(site: Site, form: Form) -> str:
    """Count calls that were made elsewhere just now with the same API key."""
    context, count = site.observer.context, _number(form, "count", _MOST_CALLS)
    try:
        with site.database.connection() as connection:
            ProviderRepository(connection).note_call()
        noted = ""
    except Away as error:
        noted = f" In Redis alone: {error}"
    try:
        in_use = context.limiter.consume(count, who="by-hand")
    except PolicyMismatch as error:
        raise Refused(str(error)) from error
    limit = context.settings.rate_limit
    counted = f"Counted {count} {'call' if count == 1 else 'calls'}"
    return f"{counted}{f'; {in_use} of {limit} are in use' if limit else ''}.{noted}"


ACTIONS: Mapping[Right, Callable[[Site, Form], str]] = {
    Right.REFRESH: refresh,
    Right.DEAD: dead,
    Right.PAUSE: pause,
    Right.BLOCK: block,
    Right.CONSUME: consume,
}


def _asset(site: Site, symbol: str, *, paused: bool = False) -> StoredAsset:
    with site.database.connection() as connection:
        known = SymbolRepository(connection).get_many([symbol[:64]], paused=paused)
    asset = known.get(symbol)
    if asset is None:
        raise Refused(f"{symbol[:64]!a} is not an asset that is refreshed.")
    if flaw := unusable(asset.symbol, asset.polygon_ticker):
        raise Refused(f"trading.symbols: {flaw}. Correct that row.")
    return asset


def _again(site: Site, letter: DeadLetter) -> Request:
    """The request that died; one whose payload was lost is asked anew."""
    return request_again(letter) or price_request(_asset(site, letter.symbol))


def _enqueue(context: Context, wanted: list[tuple[Request, int]]) -> None:
    refused = []
    for request, band in wanted:
        reply = context.queue.enqueue([request], band, revive=True)
        refused += [symbol for symbol, how, _ in reply.results if how is Outcome.REFUSED]
    start_drain(context)
    if refused:
        raise Refused(f"The queue is full: {names(refused)} was not added. Wait for some calls.")


def _number(form: Form, field: str, most: int) -> int:
    text = form.get(field, "").strip()
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise Refused(f"{field}: a whole number from 1 to {most}, not {text[:20]!a}.")
    return int(text)
