"""The provider's last activity, and the audit of calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from db.calls import CallLog
from db.connection import Connection, connect
from db.errors import MigrationMissing
from db.providers import ProviderRepository
from db.refresh import RefreshWriter
from tests.kit.db_data import call, one


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        yield connection


def test_swap_tells_how_long_ago(connection: Connection) -> None:
    providers = ProviderRepository(connection)
    assert providers.swap_last_active() is None
    ago = providers.swap_last_active()
    assert ago is not None
    assert timedelta(0) <= ago < timedelta(seconds=5)
    connection.execute(
        "UPDATE data_sources.api_providers SET last_active_at = now() - interval '2 hours'"
    )
    ago = providers.swap_last_active()
    assert ago is not None
    assert timedelta(hours=2) <= ago < timedelta(hours=2, seconds=5)


def test_of_several_that_swap_at_once_only_one_is_the_first(migrated_url: str) -> None:
    answers: list[timedelta | None] = []
    start = threading.Barrier(6)

    def swap() -> None:
        with connect(migrated_url) as connection:
            start.wait(10)
            answers.append(ProviderRepository(connection).swap_last_active())

    threads = [threading.Thread(target=swap) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(answers) == 6
    assert answers.count(None) == 1
    assert all(answer is None or answer >= timedelta(0) for answer in answers)


def test_an_unknown_provider(connection: Connection) -> None:
    providers = ProviderRepository(connection)
    with pytest.raises(MigrationMissing, match="'nobody'"):
        providers.swap_last_active("nobody")
    with pytest.raises(MigrationMissing, match="'nobody'"):
        providers.last_active_ago("nobody")


def test_calls_are_pruned_oldest_first(connection: Connection) -> None:
    writer = RefreshWriter(connection)
    now = datetime.now(UTC)
    for days in (40, 2, 31, 0):
        audit = call(f"{days} days", started_at=now - timedelta(days=days))
        writer.write(1, audit, [])
    log = CallLog(connection)
    assert log.prune(30, limit=1) == 1
    kept = "SELECT array_agg(call_id ORDER BY started_at DESC) FROM data_sources.api_calls"
    assert one(connection, kept) == ["0 days", "2 days", "31 days"]
    assert log.prune(30) == 1
    assert log.prune(30) == 0
