"""Each right of db/sql/grants.sql that is taken away is a cause which names it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from db.queries import sql
from health.causes import Level, database
from health.database import look
from tests.kit.db_data import run
from tests.kit.security import least_role

_GRANT = re.compile(r"^GRANT (?!USAGE)(.+?) ON (.+?) TO assetq_worker;", re.MULTILINE | re.DOTALL)
_RIGHT = re.compile(r"(\w+)(?: \((.*?)\))?(?:, |$)")


def granted() -> Iterator[tuple[str, str]]:
    """Each right and its table, columns one by one."""
    for rights, tables in _GRANT.findall(sql("grants")):
        for table in tables.split(","):
            for verb, columns in _RIGHT.findall(rights):
                for column in columns.split(", "):
                    yield f"{verb} ({column})" if column else verb, table.strip()


def test_each_right_that_is_missing_is_named(migrated_url: str) -> None:
    rights = list(granted())
    assert len(rights) > 25
    with least_role(migrated_url) as url:
        assert look(url) is None
        for right, table in rights:
            run(migrated_url, f"REVOKE {right} ON {table} FROM assetq_worker")
            problem = look(url)
            run(migrated_url, f"GRANT {right} ON {table} TO assetq_worker")
            assert problem, (right, table)
            cause = database(problem)
            assert f"the database user lacks {right} ON {table}" in cause.text
            assert cause.remedy == "Grant it: db/sql/grants.sql."
            assert cause.stops == (cause.level is Level.UNHEALTHY)
        assert look(url) is None


def test_what_only_reports_need_stops_no_call(migrated_url: str) -> None:
    with least_role(migrated_url) as url:
        run(migrated_url, "REVOKE DELETE ON data_sources.api_calls FROM assetq_worker")
        problem = look(url)
        assert problem
        assert not problem.stops
        run(migrated_url, "REVOKE UPDATE (metadata) ON trading.symbols FROM assetq_worker")
        problem = look(url)
        assert problem
        assert problem.stops
        for lacked in ("UPDATE (metadata) ON trading.symbols", "DELETE ON data_sources.api_calls"):
            assert lacked in problem.cause
