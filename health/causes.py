"""Every cause of trouble or waiting, in words: what is the matter, since when, and the remedy.

`/health/batch`, `/metrics`, `assetq doctor`, `queue stats` and `limiter status` all take their
words from here and from `health.holds`, so that the same cause reads the same everywhere. The
functions are pure; which cause holds is decided by `health.rules` and `health.next_call`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from health.database import DatabaseProblem
from health.facts import Failing
from health.metrics import LATENCY, QUEUE_SIZE, RATE_LIMIT_WAITS, SUCCESS_RATE, Metric
from health.texts import at, names, span
from queueing import DeadLetter
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

    def sentence(self, since_ms: int) -> str:
        """Tell the cause, its times and the remedy. `since_ms`: when a look first found it."""
        until = f", until {at(self.until_ms)}" if self.until_ms else ""
        if self.since_ms:
            since = f"since {at(min(self.since_ms, since_ms))}"
        else:
            since = f"seen since {at(since_ms)}"
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


def lost_logs(processes: Sequence[str]) -> Cause:
    """What these processes would tell is lost."""
    text = f"The log of {names(processes)} cannot be written"
    remedy = "Free its disk, or let standard error lead elsewhere; work goes on meanwhile."
    return Cause("log", Level.DEGRADED, text, remedy=remedy)


def suspended() -> Cause:
    """RQ is suspended, by an operator or a neighbour."""
    text = "RQ is suspended in this Redis: no worker takes a tick"
    remedy = "End it with `rq resume -u $REDIS_URL`."
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
