"""What a run left behind, read with eyes of its own: no class or key name of the queue is used.

Everything is plain JSON, so that a judgement can be repeated from a file.
"""

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from redis import Redis

PREFIX = "assetq:{massive}:"
Row = dict[str, Any]

# Every replaced price is noted by PostgreSQL itself, in the transaction that replaces it.
_HISTORY = """
CREATE SCHEMA IF NOT EXISTS chaos;
CREATE TABLE IF NOT EXISTS chaos.history (
    number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, symbol text, price jsonb);
CREATE OR REPLACE FUNCTION chaos.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF new.metadata -> 'last_update' IS DISTINCT FROM old.metadata -> 'last_update' THEN
        INSERT INTO chaos.history (symbol, price)
        VALUES (new.symbol, new.metadata -> 'last_update');
    END IF;
    RETURN new;
END $$;
CREATE OR REPLACE TRIGGER chaos_note AFTER UPDATE ON trading.symbols
    FOR EACH ROW EXECUTE FUNCTION chaos.note();
"""


@dataclass(frozen=True)
class Rules:
    """What was promised for this run."""

    limit: int
    window_s: float
    send_s: float = 5.0
    recovery_s: float = 5.0
    workers: int = 4
    frozen_s: float = 0.0
    """How long a frozen process slept: what it was told before, it reads afterwards."""
    clock_step_s: float = 0.0
    """How far ahead the clock of Redis was for a while."""


@dataclass(frozen=True)
class Evidence:
    """All that is known at the end."""

    rules: Rules
    assets: dict[str, str]
    """symbol → ticker: what the catalogue holds."""
    redis: Row
    rows: dict[str, Row]
    """symbol → metadata.last_update"""
    history: list[Row]
    """{symbol, price} of every replaced price, in order."""
    calls: list[Row]
    arrivals: list[Row]
    requests: list[tuple[str, int, str]] = field(default_factory=list)
    """(symbol, when, what the queue answered): acknowledged to a client. Times of this kind are
    milliseconds of this machine's clock, which is that of Redis too, unless a fault sets it."""
    recoveries: list[tuple[str, int, int]] = field(default_factory=list)
    """(symbol, when its lease was seen to be over, when it was seen taken back)."""
    excused: list[tuple[int, int, str]] = field(default_factory=list)
    """(from, to, why): times in which no lease could be taken back."""
    disturbances: int = 0
    """How many times a call in flight may have lost its worker or its servers."""
    late: list[str] = field(default_factory=list)
    """Processes that did not end within 25 s of SIGTERM."""
    ended: list[tuple[int, str]] = field(default_factory=list)
    """(when, which and how): processes that ended although nothing had been done to them."""
    deaths: dict[str, int] = field(default_factory=dict)
    """symbol → how often it was leased when a process was killed or frozen."""
    troubles: list[tuple[int, int, str, list[str]]] = field(default_factory=list)
    """(from, to, kind, words of which health must say one meanwhile)."""
    health: list[tuple[int, list[str]]] = field(default_factory=list)
    """(when, reasons): what /health/batch said."""

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def load(cls, path: Path) -> "Evidence":
        raw = json.loads(path.read_text())
        return cls(**{**raw, "rules": Rules(**raw["rules"])})


def note_history(database_url: str) -> None:
    """Makes PostgreSQL note every price it stores from now on."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_HISTORY)


def read_redis(url: str) -> Row:
    """The keys as they are. JSON that cannot be read stays a text."""
    with Redis.from_url(url, decode_responses=True) as redis:
        seconds, micros = redis.time()

        def scores(name: str) -> dict[str, float]:
            return {
                str(k): float(v) for k, v in redis.zrange(PREFIX + name, 0, -1, withscores=True)
            }

        def texts(name: str) -> Row:
            return {k: _json(v) for k, v in redis.hgetall(PREFIX + name).items()}

        records: Any = redis.hgetall(PREFIX + "batches:records")

        def record(slot: str) -> Row:
            """The fields of one batch by what they are called after their slot."""
            start = f"{slot}:"
            fields = {k.removeprefix(start): v for k, v in records.items() if k.startswith(start)}
            return {"slot": slot, **json.loads(records.get(slot, "{}")), **fields}

        updates: Any = redis.xrange(PREFIX + "updates")
        entries = scores("scheduler:entries")
        return {
            "now_ms": int(seconds) * 1000 + int(micros) // 1000,
            **{name: scores(name) for name in ("queue", "delayed", "leases", "dead")},
            "pending": sorted(redis.smembers(PREFIX + "pending")),
            "items": texts("items"),
            "dead_items": texts("dead:items"),
            "updates": [[entry_id, _json(fields.get("event"))] for entry_id, fields in updates],
            "batches": {slot: record(slot) for slot in scores("batches")},
            "entries": entries,
            "entry_jobs": {e: bool(redis.exists(f"rq:job:{e}")) for e in entries},
            "counters": texts("counters"),
            "ttls": {key: redis.pttl(key) for key in redis.scan_iter("assetq:*", count=1000)},
            "rq_ttls": {key: redis.pttl(key) for key in redis.scan_iter("rq:*", count=1000)},
            "rq_known": _known_jobs(redis),
        }


def _known_jobs(redis: "Redis") -> list[str]:
    """Job ids that RQ holds in a list or a registry, from where they run or are cleaned up."""
    known: set[str] = set()
    members: Any
    for key in redis.scan_iter("rq:*", count=1000):
        kind = redis.type(key)
        if kind == "list":
            members = redis.lrange(key, 0, -1)
            known.update(members)
        elif kind == "zset":
            members = redis.zrange(key, 0, -1)
            known.update(member.split(":")[0] for member in members)
    return sorted(known)


def read_postgres(url: str) -> Row:
    """Rows, their history and the audit, in SQL of our own."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        rows = connection.execute(
            "SELECT symbol, metadata -> 'last_update' AS price FROM trading.symbols"
        ).fetchall()
        history = connection.execute(
            "SELECT symbol, price FROM chaos.history ORDER BY number"
        ).fetchall()
        calls = connection.execute(
            """SELECT call_id, tickers, status, extract(epoch FROM started_at)::float8 AS at
               FROM data_sources.api_calls ORDER BY started_at, call_id"""
        ).fetchall()
    return {
        "rows": {row["symbol"]: row["price"] for row in rows if row["price"]},
        "history": history,
        "calls": calls,
    }


def read_arrivals(sandbox_url: str) -> list[Row]:
    """The provider's log, by first byte."""
    with urllib.request.urlopen(f"{sandbox_url}/_sandbox/arrivals", timeout=30) as answer:
        rows: list[Row] = json.load(answer)
    return rows


def gather(
    rules: Rules,
    assets: Mapping[str, str],
    *,
    redis_url: str,
    database_url: str,
    sandbox_url: str,
    **more: Any,
) -> Evidence:
    """Everything, while nothing else runs."""
    return Evidence(
        rules=rules,
        assets=dict(assets),
        redis=read_redis(redis_url),
        **read_postgres(database_url),
        arrivals=read_arrivals(sandbox_url),
        **more,
    )


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return text
