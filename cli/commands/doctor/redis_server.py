"""Redis: version, durability, and whether our keys are as they should be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from redis.exceptions import NoPermissionError

from cli.commands.doctor.finding import Finding, fail, ok, warn
from cli.session import redis_at
from runtime.context import Context
from scheduler.entries import entries_key
from worker.capabilities import Capabilities

_LEAST_VERSION = (7, 0)  # EXPIRE with NX
_SKEW_S = 60
_MOST_KEYS = 100_000
_SHOWN = 5
_TYPES = {
    "zset": (
        *("queue", "delayed", "leases", "dead", "window", "waits", "batches", "heartbeats"),
        *("marks", "overtaken", "older_processes", "scheduler_entries"),
    ),
    "hash": (*("items", "dead_items", "quota", "counters", "batch_records", "timings", "causes"),),
    "set": ("pending",),
    "list": ("wake", "actions"),
    "string": ("waiter", "outage", "outage_pause", "secondary", "bars", "assets", "scheduler_lock"),
    "stream": ("updates",),
}


def server(context: Context) -> Iterator[Finding]:
    """Version, append-only file, what it does when memory is full, and its clock."""
    try:
        info: dict[str, Any] = context.redis.info()
    except NoPermissionError:
        yield fail(
            "redis",
            f"at {redis_at()}: this user may not use INFO, so that a restart of Redis goes unseen "
            "and the calls before it may be counted as free",
            "Give the user the rights that `assetq acl` prints.",
        )
        return
    name, version = "Redis", str(info.get("redis_version", "0"))
    if "valkey_version" in info:
        name = f"Valkey {info['valkey_version']}, speaks as Redis"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _LEAST_VERSION:
        yield fail("redis", f"{name} {version} is too old", "Use Redis 7.0 or newer, or Valkey.")
    else:
        yield ok("redis", f"{name} {version} at {redis_at()}")
    if info.get("role") != "master":
        yield fail("redis", "this server is a replica", "Let REDIS_URL lead to the primary.")
    if not info.get("aof_enabled"):
        yield warn(
            "redis",
            "no append-only file: a crash loses the requests since the last snapshot",
            "Set `appendonly yes`, or ask your host for persistence.",
        )
    yield from _memory(info)
    skew_s = context.redis_now_ms() / 1000 - time.time()
    if abs(skew_s) > _SKEW_S:
        yield warn(
            "redis",
            f"its clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this one",
            "Set both clocks (NTP): Redis' clock decides which prices can be newer.",
        )


def _memory(info: dict[str, Any]) -> Iterator[Finding]:
    limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("noeviction"):
        return
    if limit and policy.startswith("allkeys"):
        yield fail(
            "redis",
            f"maxmemory-policy is {policy}: when memory is full it deletes the queue",
            "Set `maxmemory-policy noeviction`.",
        )
    else:
        text = f"maxmemory-policy is {policy}"
        yield warn("redis", text, "Set `maxmemory-policy noeviction`; assetq bounds its own keys.")


def keys(context: Context) -> Iterator[Finding]:
    """Our keys have the right types, and a TTL unless they live for ever by intent."""
    expected = {getattr(context.keys, name): kind for kind, ns in _TYPES.items() for name in ns}
    expected[Capabilities(context).key] = "hash"
    permanent = context.keys.permanent | {entries_key(context.keys)}
    found = _ours(context)
    pipe = context.redis.pipeline(transaction=False)
    for name in found:
        pipe.type(name)
        pipe.pttl(name)
    replies = pipe.execute()
    state = dict(zip(found, zip(replies[::2], replies[1::2], strict=True), strict=True))
    wrong = [
        (name, kind)
        for name, (kind, _) in state.items()
        if kind not in ("none", expected.get(name, kind))
    ]
    for name, kind in wrong:
        yield fail(
            "redis keys",
            f"{name} is a {kind}, not a {expected[name]}: something else wrote it",
            f"Rename or delete it (DEL '{name}'), or give assetq a Redis database of its own.",
        )
    lasting = [name for name, (_, ttl) in state.items() if ttl == -1 and name not in permanent]
    if lasting:
        yield warn(
            "redis keys",
            f"without a TTL, and not of those that last: {', '.join(lasting[:_SHOWN])}"
            + (f" and {len(lasting) - _SHOWN} more" if len(lasting) > _SHOWN else ""),
            "Delete them if nothing else uses them.",
        )
    if not wrong and not lasting:
        yield ok("redis keys", f"{len(found)}, each of its type and with a TTL where it needs one")


def _ours(context: Context) -> list[str]:
    found: set[str] = set()
    for name in context.redis.scan_iter(match=context.keys.every, count=1000):
        found.add(str(name))
        if len(found) >= _MOST_KEYS:
            break
    return sorted(found)
