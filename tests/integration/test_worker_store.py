"""PostgreSQL that does not take a row, or takes none: which calls are made, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from db.connection import connect
from db.errors import DatabaseError, DatabaseUnavailable, WritesRefused
from local.sandbox import SandboxServer
from queueing import Death, Priority
from tests.kit import worker as worker_kit
from tests.kit.worker import Site, settings_for
from worker.tasks import LONGEST_OUTAGE_MS, OUTAGE_MS, pause_drains

CRITICAL = ("XAUUSD", "EURUSD", "BTCUSD")
Opened = tuple[Site, SandboxServer]


@pytest.fixture
def opened(redis_url: str, migrated_url: str) -> Iterator[Callable[..., Opened]]:
    """`shared`: one call brings all assets; else each has its own."""
    with ExitStack() as stack:

        def open_(*, shared: bool = True, **more: Any) -> Opened:
            provider = stack.enter_context(worker_kit.sandbox("starter"))
            settings = settings_for(redis_url, migrated_url, provider.url, **more)
            site = stack.enter_context(Site.open(settings))
            if not shared:
                site.capabilities.refuse("snapshot_v3", "one asset per call, please")
            return site, provider

        yield open_


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "single"])
def test_a_row_that_another_program_holds_costs_itself_attempts(
    opened: Callable[..., Opened], shared: bool
) -> None:
    site, provider = opened(shared=shared, retry_max_attempts=1, retry_delay_seconds=0)
    with connect(site.context.settings.database_url) as other, other.transaction():
        other.execute(b"SELECT 1 FROM trading.symbols WHERE symbol = 'XAUUSD' FOR UPDATE")
        site.ask(*CRITICAL, at=Priority.CRITICAL)
        assert site.drain(slice_s=20).run().ended == "empty"
        assert sorted(site.events()) == ["BTCUSD", "EURUSD"]
        [letter] = site.context.queue.dead()
        assert (letter.symbol, letter.kind, letter.attempts) == ("XAUUSD", Death.TRANSIENT, 2)
        assert "another session" in letter.reason
        assert len(provider.arrivals()) == (2 if shared else 4)
        assert site.outcomes() == ["ok"] * len(provider.arrivals()), "every call is in the audit"
    site.ask("XAUUSD", at=Priority.CRITICAL)
    site.drain().run()
    assert sorted(site.events()) == sorted(CRITICAL)


@pytest.mark.parametrize("sqlstate", ["42501", "P0001", "23514", "40001", "55P03", "57014"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "single"])
def test_a_trigger_that_refuses_one_row_costs_that_row(
    opened: Callable[..., Opened], shared: bool, sqlstate: str
) -> None:
    site, provider = opened(shared=shared, retry_max_attempts=1, retry_delay_seconds=0)
    site.connection.execute(
        f"""CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE 'not this one' USING ERRCODE = '{sqlstate}'; END $$;
            CREATE TRIGGER theirs BEFORE UPDATE ON trading.symbols FOR EACH ROW
            WHEN (NEW.symbol = 'XAUUSD') EXECUTE FUNCTION theirs()""".encode()
    )
    site.ask(*CRITICAL, at=Priority.CRITICAL)
    site.drain(slice_s=20).run()
    assert sorted(site.events()) == ["BTCUSD", "EURUSD"]
    [letter] = site.context.queue.dead()
    assert letter.symbol == "XAUUSD"
    assert len(provider.arrivals()) <= 4
    assert site.status("XAUUSD")[0] == "error"  # type: ignore[index]
    assert len(site.outcomes()) == len(provider.arrivals())


TAKES_NONE = {
    "read-only": ("ALTER DATABASE {db} SET default_transaction_read_only = on", "read-only"),
    "no table": ("ALTER TABLE market_data.ohlcv_5m RENAME TO gone", "ohlcv_5m"),
    "no insert": (
        """CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE 'nothing' USING ERRCODE = '53100'; END $$;
           CREATE TRIGGER nothing BEFORE INSERT ON data_sources.api_calls FOR EACH STATEMENT
           EXECUTE FUNCTION nothing()""",
        "nothing",
    ),
}


@pytest.mark.parametrize("how", TAKES_NONE)
def test_no_call_is_made_for_an_answer_that_cannot_be_stored(
    opened: Callable[..., Opened], how: str
) -> None:
    site, provider = opened()
    statement, cause = TAKES_NONE[how]
    name = site.connection.info.dbname
    site.connection.execute(statement.format(db=name).encode())
    site.ask(*CRITICAL, at=Priority.CRITICAL)
    for _ in range(3):
        with pytest.raises(DatabaseError, match=cause), Site.open(site.context.settings, ()) as one:
            one.drain().run()
    assert provider.arrivals() == []
    assert all(site.item(symbol).attempts == 0 for symbol in CRITICAL)


def test_writes_that_are_refused_in_the_middle_of_a_drain_cost_one_call(
    opened: Callable[..., Opened],
) -> None:
    site, provider = opened(shared=False)
    site.ask(*CRITICAL, at=Priority.CRITICAL)
    drain = site.drain()
    drain._refresher.store.ready()
    name = site.connection.info.dbname
    site.connection.execute(b"SET default_transaction_read_only = on")
    assert name
    with pytest.raises(WritesRefused):
        drain.run()
    assert len(provider.arrivals()) <= 1
    assert all(site.item(symbol).attempts == 0 for symbol in CRITICAL)


def test_a_refused_write_pauses_with_doubling(opened: Callable[..., Opened]) -> None:
    site, _ = opened()
    keys, r = site.context.keys, site.context.redis
    pauses = [pause_drains(site.context, WritesRefused("no room")) for _ in range(6)]
    assert pauses == [OUTAGE_MS, 10_000, 20_000, 40_000, LONGEST_OUTAGE_MS, LONGEST_OUTAGE_MS]
    assert "no room" in str(r.get(keys.outage))
    assert 0 < r.pttl(keys.outage) <= LONGEST_OUTAGE_MS
    gone = DatabaseUnavailable("gone", host="h", port="1", dbname="d", user="u")
    assert pause_drains(site.context, gone) == OUTAGE_MS, "that costs no call, and may end soon"
    r.delete(keys.outage_pause)  # it expires
    assert pause_drains(site.context, WritesRefused()) == OUTAGE_MS


def test_a_session_that_was_cut_while_it_was_idle_is_no_outage(
    opened: Callable[..., Opened],
) -> None:
    site, provider = opened(shared=False)
    site.ask("XAUUSD", at=Priority.CRITICAL)
    site.ask("EURUSD")
    drain = site.drain(reconnecting=True)
    drain._refresher.store.ready()
    with connect(site.context.settings.database_url) as other:
        pid = site.connection.info.backend_pid
        other.execute(b"SELECT pg_terminate_backend(%s, 5000)", (pid,))
    assert drain.run().ended == "empty"
    assert sorted(site.events()) == ["EURUSD", "XAUUSD"]
    assert len(provider.arrivals()) == 2
