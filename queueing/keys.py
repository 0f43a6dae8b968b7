"""Every Redis key of the queue and the quota, built here and nowhere else.

All keys of one provider share the hash tag ``{provider}``, so that one script may touch them all,
also on Redis Cluster. The braces are literal: ``assetq:{massive}:queue``.
"""

import re
from dataclasses import dataclass
from functools import cached_property

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")

NAMESPACE = "assetq"

# The keys that scripts may use, in capitals there; each one is given those that it names.
SCRIPT_KEYS = (
    "queue",
    "pending",
    "items",
    "delayed",
    "leases",
    "dead",
    "dead_items",
    "window",
    "quota",
    "counters",
    "waits",
    "wake",
    "waiter",
    "updates",
    "batches",
    "batch_records",
    "marks",
    "overtaken",
    "timings",
    "older_processes",
)


@dataclass(frozen=True)
class Keys:
    """The key names of one provider (one quota, one queue)."""

    provider: str = "massive"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.provider):
            raise ValueError(
                f"provider name {self.provider!r}: use 1 to 40 letters, digits, '_', '.' or '-'"
            )

    def _named(self, name: str) -> str:
        return f"{NAMESPACE}:{{{self.provider}}}:{name}"

    @cached_property
    def queue(self) -> str:
        """ZSET symbol → priority·10¹³ + enqueued_at ms: what may run now. Permanent."""
        return self._named("queue")

    @cached_property
    def pending(self) -> str:
        """SET of every symbol that is queued, delayed or leased: the dedup. Permanent."""
        return self._named("pending")

    @cached_property
    def items(self) -> str:
        """HASH symbol → JSON of the pending item. Permanent."""
        return self._named("items")

    @cached_property
    def delayed(self) -> str:
        """ZSET symbol → ms when it may run again. Permanent."""
        return self._named("delayed")

    @cached_property
    def leases(self) -> str:
        """ZSET symbol → lease deadline in ms; the token is in the item. Permanent."""
        return self._named("leases")

    @cached_property
    def dead(self) -> str:
        """ZSET symbol → ms of death. Permanent."""
        return self._named("dead")

    @cached_property
    def dead_items(self) -> str:
        """HASH symbol → JSON with kind, reason and the item. Permanent."""
        return self._named("dead:items")

    @cached_property
    def window(self) -> str:
        """ZSET call id → ms until which this call still counts. Permanent, at most `limit`
        entries in ordinary work."""
        return self._named("window")

    @cached_property
    def quota(self) -> str:
        """HASH epoch, hold_until, blocked_until, the next batch and its calls. Permanent."""
        return self._named("quota")

    @cached_property
    def counters(self) -> str:
        """HASH of counters since the beginning. Permanent."""
        return self._named("counters")

    @cached_property
    def waits(self) -> str:
        """ZSET call id → ms: urgent calls of the last hour that waited for quota. TTL 1 h."""
        return self._named("waits")

    @cached_property
    def wake(self) -> str:
        """LIST of tokens for the drain that waits. TTL."""
        return self._named("wake")

    @cached_property
    def waiter(self) -> str:
        """STRING: name of the one drain that waits. TTL."""
        return self._named("waiter")

    @cached_property
    def updates(self) -> str:
        """STREAM of the events, capped. Permanent."""
        return self._named("updates")

    @cached_property
    def batches(self) -> str:
        """ZSET slot → planned ms of the batches whose records are kept. TTL."""
        return self._named("batches")

    @cached_property
    def batch_records(self) -> str:
        """HASH of the batches' records; its fields begin with the slot. TTL."""
        return self._named("batches:records")

    @cached_property
    def marks(self) -> str:
        """ZSET server epoch and mark → ms: proves later that nothing was lost since. TTL."""
        return self._named("marks")

    @cached_property
    def overtaken(self) -> str:
        """ZSET symbol → ms of the request: queued items whose place is younger than it, because
        they were raised or retried. Permanent, empty in ordinary work."""
        return self._named("overtaken")

    @cached_property
    def timings(self) -> str:
        """HASH of the histograms of wait, call and batch time. Permanent, some 100 fields."""
        return self._named("timings")

    @cached_property
    def heartbeats(self) -> str:
        """ZSET process name → ms of its last heartbeat. TTL."""
        return self._named("heartbeats")

    @cached_property
    def older_processes(self) -> str:
        """ZSET: heartbeats of processes of an older version, beside which items must keep score,
        attempts and crashes: it buries one without. This version writes none. TTL 1 h."""
        return self._named("alive")

    def capabilities(self, fingerprint: str) -> str:
        """HASH of what the plan of the API key with this fingerprint refuses, per feed. TTL."""
        return self._named(f"capabilities:{fingerprint}")

    @cached_property
    def outage_pause(self) -> str:
        """STRING: the last pause after an outage in ms, which the next one doubles. TTL."""
        return self._named("outage:pause")

    @cached_property
    def outage(self) -> str:
        """STRING: why no drain should be started for the moment. TTL of seconds."""
        return self._named("outage")

    @cached_property
    def secondary(self) -> str:
        """STRING: the slot of the last secondary round. TTL."""
        return self._named("secondary")

    @cached_property
    def bars(self) -> str:
        """STRING: the slot of the last round of new bars. TTL."""
        return self._named("bars")

    @cached_property
    def assets(self) -> str:
        """STRING: how many assets are tracked, as last counted; the default bound of the queue
        grows with them. TTL."""
        return self._named("assets")

    @cached_property
    def actions(self) -> str:
        """LIST of what was changed by hand on the pages, newest first, as JSON. TTL 90 days."""
        return self._named("actions")

    @cached_property
    def causes(self) -> str:
        """HASH cause of trouble → ms when it was first seen, and of the last look. TTL 24 h."""
        return self._named("causes")

    @cached_property
    def scheduler(self) -> str:
        """Prefix of what belongs to the scheduler process."""
        return self._named("scheduler")

    @cached_property
    def scheduler_entries(self) -> str:
        """ZSET of rq-scheduler's entries. Permanent."""
        return f"{self.scheduler}:entries"

    @cached_property
    def scheduler_lock(self) -> str:
        """STRING: which scheduler passes. TTL of seconds."""
        return f"{self.scheduler}:lock"

    @property
    def every(self) -> str:
        """A pattern for SCAN that matches all keys of this provider."""
        return self._named("*")

    @property
    def permanent(self) -> frozenset[str]:
        """Keys that live for ever by intent; every other key must have a TTL."""
        return frozenset(
            [
                self.queue,
                self.pending,
                self.items,
                self.delayed,
                self.leases,
                self.dead,
                self.dead_items,
                self.window,
                self.quota,
                self.counters,
                self.updates,
                self.overtaken,
                self.timings,
                self.scheduler_entries,
            ]
        )
