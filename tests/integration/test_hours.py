"""The figures of each hour: noted by ticks, kept for 90 days, shown on the page Quota."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from db.connection import Connection, connect
from db.hours import HourLog, Reading, RoundFigures
from db.refresh import RefreshWriter
from db.symbols import SymbolRepository
from local.servers.postgres import PostgresServer
from queueing import Claimed, Priority, Request
from settings import Settings
from tests.kit.db_data import CRITICAL, call, one, run
from tests.kit.health import System
from tests.kit.markup import check_markup
from worker.hours import note_hour


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as opened:
        SymbolRepository(opened).upsert_many(CRITICAL)
        yield opened


@pytest.fixture
def system(redis_url: str, migrated_url: str, connection: Connection, r: Redis) -> System:
    settings = Settings.model_validate({"REDIS_URL": redis_url, "DATABASE_URL": migrated_url})
    found = System(settings, r)
    found.make_healthy()
    return found


def hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def test_a_note_within_a_minute_changes_nothing_but_a_rounds_figures_count(
    connection: Connection,
) -> None:
    log, at = HourLog(connection, "p"), hour() + timedelta(minutes=10)
    assert log.note(Reading(at, prices=5))
    assert not log.note(Reading(at + timedelta(seconds=59), prices=6))
    assert log.note(Reading(at + timedelta(seconds=59), prices=7), RoundFigures(3, 1, 40))
    assert log.note(Reading(at + timedelta(minutes=2), prices=9))
    [figures] = log.hours(hour())
    assert (figures.prices, figures.assets, figures.stale, figures.lacking) == (4, 3, 1, 40)
    assert HourLog(connection, "other").hours(hour()) == []


def test_refused_calls_are_those_of_the_audit(connection: Connection) -> None:
    writer = RefreshWriter(connection)
    for number, outcome in enumerate(("ok", "NotEntitled", "ServerError")):
        started_at = hour() + timedelta(minutes=number)
        writer.write(1, call(f"c{number}", outcome=outcome, started_at=started_at), [])
    log = HourLog(connection, "p")
    log.note(Reading(hour() + timedelta(minutes=5)))
    assert [figures.refused for figures in log.hours(hour())] == [2]


def test_two_writers_at_once_count_once(connection: Connection, migrated_url: str) -> None:
    log, at = HourLog(connection, "p"), hour() + timedelta(minutes=10)
    log.note(Reading(at, prices=0))
    barrier, said = threading.Barrier(4), list[bool]()

    def write() -> None:
        with connect(migrated_url) as own:
            barrier.wait(10)
            said.append(HourLog(own, "p").note(Reading(at + timedelta(minutes=2), prices=10)))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (sorted(said), [f.prices for f in log.hours(hour())]) == ([False] * 3 + [True], [10])


def test_hours_are_kept_for_90_days_and_summed_by_day(connection: Connection) -> None:
    log, now = HourLog(connection, "p"), hour()
    for back in (91, 89, 0):
        at = now - timedelta(days=back)
        log.note(Reading(at, prices=100 - back, causes=["hold"]))
    kept = [figures.hour for figures in log.hours(now - timedelta(days=365))]
    assert kept == [now - timedelta(days=89), now]
    assert [figures.prices for figures in log.days(now - timedelta(days=365))] == [0, 89]
    assert log.causes(now - timedelta(days=365)) == {"hold": 600}


def test_a_tick_notes_what_redis_counted(system: System, connection: Connection) -> None:
    context = system.context
    note_hour(context, connection)
    context.queue.enqueue([Request("XAUUSD")], Priority.CRITICAL)
    assert isinstance(context.queue.claim(), Claimed)
    context.limiter.block(60_000, "maintenance")
    run_at = "UPDATE assetq.hours SET noted_at = noted_at - interval '2 minutes'"
    connection.execute(run_at.encode())
    note_hour(context, connection)
    figures = HourLog(connection, context.keys.provider).hours(hour() - timedelta(hours=1))
    assert sum(one.prices for one in figures) == 1
    assert "blocked" in figures[-1].causes


def test_a_figure_is_not_worth_a_tick(
    system: System, connection: Connection, migrated_url: str
) -> None:
    run(migrated_url, "ALTER TABLE assetq.hours RENAME TO gone")
    note_hour(system.context, connection)
    run(migrated_url, "ALTER TABLE assetq.gone RENAME TO hours")
    note_hour(system.context, connection)
    assert one(connection, "SELECT count(*) FROM assetq.hours") == 1


def test_the_page_shows_calls_failures_and_what_comes(
    system: System, connection: Connection
) -> None:
    log, provider = hour(), system.context.keys.provider
    text = system.client.get("/quota").text
    check_markup(text)
    assert "no figures yet" in text
    notes = HourLog(connection, provider)
    notes.note(Reading(log - timedelta(hours=3)))
    audit = call("c1", outcome="NotEntitled", started_at=datetime.now(UTC), error="not in the plan")
    RefreshWriter(connection).write(1, audit, [])
    waits = [5] + [0] * 11
    counted = Reading(log, prices=30, bars=10, history=20, idle_ms=90_000, waits=waits)
    notes.note(counted, RoundFigures(3, 0, 40))
    system.context.queue.enqueue([Request("XAUUSD")], Priority.HIGH)
    assert system.client.get("/quota").status_code == 200
    system.app.extensions["assetq-site"].pending.forget()
    text = system.client.get("/quota").text
    check_markup(text)
    for told in (
        "<dd>60<small>of",
        "<b>30</b> prices",
        "NotEntitled",
        "not in the plan",
        "1 min 30 s",
        "40 calls lack",
        "such as Starter, all prices and whole series take 41 calls",
        "if nothing new comes",
    ):
        assert told in text, told
    assert text.count('<rect class="for-history"') == 2, "an hour and a day"


def test_the_page_stays_readable_while_postgresql_is_away(
    system: System, pg_server: PostgresServer
) -> None:
    pg_server.stop()
    try:
        answer = system.client.get("/quota")
        assert answer.status_code == 200
        assert "PostgreSQL" in answer.text
        check_markup(answer.text)
    finally:
        pg_server.start()
