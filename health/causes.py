"""Every cause of trouble or waiting, in words: what is the matter, since when, and the remedy.

`/health/batch`, `/metrics`, `assetq doctor`, `queue stats` and `limiter status` all take their
words from here, so that the same cause reads the same everywhere. The functions are pure; which
cause holds is decided by `health.rules` and `health.next_call`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from health.database import DatabaseProblem
from health.facts import Failing
from health.metrics import LATENCY, QUEUE_SIZE, RATE_LIMIT_WAITS, SUCCESS_RATE, Metric
from health.texts import at, names, span
from queueing import DeadLetter, PolicyMismatch, QuotaStatus
from runtime.redis_outage import Outage


class Level(IntEnum):
    """How bad a cause is; the worst one is the status. A healthy cause only explains a wait."""

    HEALTHY = 0
    DEGRADED = 1
    UNHEALTHY = 2

    @property
    def status(self) -> str:
        """The word for people and load balancers."""
        return self.name.lower()


@dataclass(frozen=True)
class Cause:
    """One reason for trouble or waiting."""

    key: str
    """Names the cause across looks, in JSON and as a label of `/metrics`."""
    level: Level
    text: str
    """One clause without a full stop."""
    since_ms: int | None = None
    """None: only who looks repeatedly can tell since when."""
    until_ms: int | None = None
    """When it ends by itself, as far as is known."""
    remedy: str | None = None
    stops: bool = False
    """True if no call is made while it holds, whatever the quota allows."""

    def sentence(self, seen_since_ms: int) -> str:
        """Tell the cause, its times and the remedy."""
        until = f", until {at(self.until_ms)}" if self.until_ms else ""
        since = f"since {at(self.since_ms)}" if self.since_ms else f"seen since {at(seen_since_ms)}"
        return " ".join(filter(None, (f"{self.text}{until}, {since}.", self.remedy)))


# --- servers


def redis_outage(outage: Outage) -> Cause:
    """Redis cannot be read, or refuses changes."""
    key = f"redis.{outage.kind}"
    return Cause(key, Level.UNHEALTHY, outage.cause, remedy=outage.remedy, stops=True)


def database(problem: DatabaseProblem) -> Cause:
    """PostgreSQL cannot be used, or refuses what an answer needs."""
    key, stops = f"postgresql.{problem.kind}", problem.stops
    text = f"PostgreSQL {problem.effect} ({problem.cause})"
    level = Level.UNHEALTHY if stops else Level.DEGRADED
    return Cause(key, level, text, remedy=problem.remedy, stops=stops)


def paused(outage: str) -> Cause:
    """The workers say that they cannot store answers."""
    text = f"Workers make no call ({outage})"
    remedy = "`assetq doctor`, run where the workers run, names the cause."
    return Cause("outage", Level.DEGRADED, text, remedy=remedy, stops=True)


# --- processes

_STARTED_BY = {"worker": "assetq worker", "scheduler": "assetq scheduler"}


def no_process(role: str, level: Level, seen_ms: int) -> Cause:
    """No worker, or no scheduler, is alive."""
    remedy = f"Start one: {_STARTED_BY[role]}"
    stops = role == "worker"
    return Cause(role, level, f"No {role} is alive", seen_ms, remedy=remedy, stops=stops)


def suspended() -> Cause:
    """RQ is suspended, by an operator or a neighbour."""
    text = "RQ is suspended in this Redis: no worker takes a tick"
    remedy = "End it with `rq resume`."
    return Cause("suspended", Level.UNHEALTHY, text, remedy=remedy, stops=True)


def failing_ticks(failed: Mapping[str, int]) -> Cause:
    """Ticks end with an error."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in failed.items())
    text = f"Ticks failed within the last hour ({kinds})"
    remedy = "`assetq doctor` and the log of the workers name the error."
    return Cause("ticks", Level.DEGRADED, text, remedy=remedy)


def missing_entries(ids: Sequence[str]) -> Cause:
    """Entries are gone from the schedule."""
    text = f"Missing in the schedule: {names(ids)}"
    remedy = "A scheduler that is alive restores them within a second."
    return Cause("schedule", Level.DEGRADED, text, remedy=remedy)


# --- rounds

_BATCH = "The scheduler starts the next one; `assetq batch` runs one now."


def no_batch_yet(level: Level, interval_ms: int, since_ms: int) -> Cause:
    """No batch is known at all."""
    text = f"No batch has run yet (one is due every {span(interval_ms / 1000)})"
    return Cause("batch", level, text, since_ms, remedy=_BATCH)


def old_batch(level: Level, interval_ms: int, planned_ms: int) -> Cause:
    """The last batch is too old."""
    text = f"No batch has run (one is due every {span(interval_ms / 1000)})"
    return Cause("batch", level, text, planned_ms, remedy=_BATCH)


def first_batch_running(since_ms: int) -> Cause:
    """Nothing is known of the only batch yet."""
    text = "The first batch has not finished yet"
    return Cause("last-batch", Level.DEGRADED, text, since_ms)


def batch_left(failed: Sequence[tuple[str, str]], since_ms: int) -> Cause:
    """The last batch left assets behind."""
    shown = names([f"{symbol} ({error[:200]})" for symbol, error in failed])
    text = f"The last batch did not refresh {shown}"
    remedy = (
        "`assetq queue list` and `assetq dead list` name the errors; the next batch asks again."
    )
    return Cause("last-batch", Level.DEGRADED, text, since_ms, remedy=remedy)


def old_secondary(interval_ms: int, since_ms: int) -> Cause:
    """No secondary round has run for too long."""
    text = f"No secondary round has run (one is due every {span(interval_ms / 1000)})"
    remedy = "The log of the workers names what ended it."
    return Cause("secondary", Level.DEGRADED, text, since_ms, remedy=remedy)


# --- assets

_METRIC_REMEDIES = {
    SUCCESS_RATE.name: "The causes beside this one, `assetq queue list` and `dead list` say why.",
    LATENCY.name: "`assetq limiter status` tells what the calls of a batch wait for.",
    QUEUE_SIZE.name: "Compare plans with `assetq simulate`, or track fewer assets.",
    RATE_LIMIT_WAITS.name: "Raise BATCH_INTERVAL_MINUTES, or take a larger plan.",
}


def beyond_threshold(metric: Metric) -> Cause:
    """A watched metric raises its alert."""
    limit = metric.limit
    side = "below" if limit.alert_below else "above"
    text = f"{metric.name} is {metric.value:g}, {side} {limit.threshold:g} {limit.unit}"
    return Cause(metric.name, Level.DEGRADED, text, remedy=_METRIC_REMEDIES.get(metric.name))


def poison(letters: Sequence[DeadLetter]) -> Cause:
    """Assets killed their workers."""
    text = f"Workers died refreshing {names([letter.symbol for letter in letters])}"
    remedy = "Look at their log, then `assetq dead retry` or `assetq dead drop`."
    since_ms = min(letter.died_at_ms for letter in letters)
    return Cause("poison", Level.DEGRADED, text, since_ms, remedy=remedy)


def failing_assets(failing: Sequence[Failing], dead: Sequence[DeadLetter]) -> Cause:
    """Assets fail again and again, or were given up until the next round."""
    rows = [(f.symbol, f.error) for f in failing] + [(x.symbol, x.reason) for x in dead]
    shown = names([f"{symbol} ({error[:100]})" for symbol, error in rows])
    text = f"{len(rows)} {'asset fails' if len(rows) == 1 else 'assets fail'}: {shown}"
    remedy = "`assetq queue list` and `assetq dead list` name each one."
    since_ms = min((letter.died_at_ms for letter in dead), default=None)
    return Cause("failing", Level.DEGRADED, text, since_ms, remedy=remedy)


# --- calls


WAITS = {
    "window": "the calls of this window are used up",
    "reserved": "calls are kept free for the next batch",
    "spacing": "the least time between two calls has not passed",
    "blocked": "calls are blocked",
    "breaker": "the provider fails; the next call is a probe",
    "policy": "the quota is kept for other limits than this process is set to",
    "hold": "the calls of the last window are unknown, so that none is granted",
    "delayed": "it waits for its retry or a pause of its own",
    "leased": "it is being refreshed now",
    "version": "what waits needs workers of a newer version",
}
"""Reason of the quota or the queue → its words."""


def blocked(quota: QuotaStatus, since_ms: int | None) -> Cause:
    """Calls are blocked: by the provider's answer, or by hand."""
    reason = quota.blocked_reason or "no reason given"
    refused = reason.startswith("401")
    text = "The provider refuses the API key" if refused else _begun(WAITS["blocked"])
    remedy = "Wait, or lift it with `assetq limiter block 0`."
    if refused:
        remedy = "Correct MASSIVE_API_KEY; a new key lifts the block."
    elif reason.startswith("429"):
        remedy = (
            "Wait. If it comes again, something else uses this API key, or POLYGON_RATE_LIMIT and "
            "RATE_WINDOW_SECONDS allow more than the plan."
        )
    level = Level.UNHEALTHY if refused else Level.DEGRADED
    text = f"{text} ({reason})"
    return Cause("blocked", level, text, since_ms, quota.blocked_until_ms, remedy)


def breaker(quota: QuotaStatus) -> Cause:
    """The circuit breaker is open."""
    reason = quota.breaker.reason or "no reason given"
    text = f"{_begun(WAITS['breaker'])} ({reason})"
    remedy = "Wait; `assetq limiter reset` closes the circuit breaker."
    since_ms, probe_ms = quota.breaker.since_ms, quota.breaker.probe_at_ms
    return Cause("breaker", Level.DEGRADED, text, since_ms, probe_ms, remedy)


def hold(quota: QuotaStatus) -> Cause:
    """Redis may have lost calls of the last window."""
    text = f"{_begun(WAITS['hold'])}: Redis is new, was restarted or emptied"
    remedy = "Wait; `assetq limiter reset` if nothing called the provider meanwhile."
    until_ms = quota.hold_until_ms
    return Cause("hold", Level.DEGRADED, text, None, until_ms, remedy)


def policy(mismatch: PolicyMismatch) -> Cause:
    """The quota is kept by other rules than those of this process."""
    kept, own = mismatch.kept.counted, mismatch.own.counted
    text = f"{_begun(WAITS['policy'])}: it is kept for {kept}, and set here are {own}"
    remedy = (
        "Set POLYGON_TIER, POLYGON_RATE_LIMIT and RATE_WINDOW_SECONDS alike in all processes and "
        "restart them; `assetq limiter reset` takes over at once what is set here."
    )
    return Cause("policy", Level.DEGRADED, text, until_ms=mismatch.until_ms, remedy=remedy)


LARGE_BATCH = "Raise BATCH_INTERVAL_MINUTES, shorten PRIORITY_ASSETS, or take a larger plan."


def batch_share(calls: int, possible: float, interval_ms: float) -> str:
    """What a batch takes of the calls of its interval."""
    allowed = f"{round(possible, 1):g} calls that the quota allows in {span(interval_ms / 1000)}"
    return f"A batch takes {calls} of {allowed}"


def batch_too_large(calls: int, possible: float, interval_ms: float) -> Cause:
    """The calls of a batch cannot be made before the next one."""
    text = f"{batch_share(calls, possible, interval_ms)}: it cannot finish before the next one"
    return Cause("capacity", Level.DEGRADED, text, remedy=LARGE_BATCH)


def nothing_left(calls: int, possible: float, interval_ms: float) -> Cause:
    """A batch takes all calls, so that the other assets live on the share that is kept for them."""
    text = f"{batch_share(calls, possible, interval_ms)}: other assets get one call in 20"
    return Cause("share", Level.DEGRADED, text, remedy=LARGE_BATCH)


def wait(reason: str, until_ms: int | None) -> Cause:
    """An ordinary wait, which ends by itself."""
    text = WAITS.get(reason, f"it waits for {reason}")
    return Cause(reason, Level.HEALTHY, _begun(text), until_ms=until_ms)


def unpublished(market: str, until_ms: int) -> Cause:
    """The provider has not published a market's newest day."""
    text = f"The newest day of {market} is not published yet; the day before serves"
    return Cause(f"unpublished.{market}", Level.HEALTHY, text, until_ms=until_ms)


def closed_market(market: str) -> Cause:
    """A market does not trade, so that its prices do not change."""
    text = f"The {market} market is closed: its prices do not change"
    return Cause(f"closed.{market}", Level.HEALTHY, text)


def _begun(clause: str) -> str:
    return clause[0].upper() + clause[1:]
