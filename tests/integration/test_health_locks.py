"""A write of ours that waits for another program's lock is a cause with a remedy."""

from __future__ import annotations

import threading

import psycopg

from health.causes import Level, database
from health.database import look
from tests.kit.waiting import eventually

ROW = "INSERT INTO trading.symbols (symbol, polygon_ticker) VALUES ('XAUUSD', 'C:XAUUSD')"
UPDATE = "UPDATE trading.symbols SET metadata = metadata WHERE symbol = 'XAUUSD'"


def test_a_write_that_waits_for_a_lock_is_named_while_it_waits(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as other, psycopg.connect(migrated_url) as ours:
        other.execute(ROW)
        other.commit()
        other.execute(UPDATE)
        waiting = threading.Thread(target=ours.execute, args=(UPDATE,))
        waiting.start()
        try:
            eventually(lambda: look(migrated_url) is not None)
            problem = look(migrated_url)
        finally:
            other.rollback()
            waiting.join(10)
        assert problem is not None
        cause = database(problem)
        assert (cause.key, cause.level, cause.stops) == (
            "postgresql.locked",
            Level.DEGRADED,
            False,
        )
        assert "lock" in cause.text
        assert "pg_blocking_pids" in (cause.remedy or "")
    assert look(migrated_url) is None
