"""The command's frame: help, exit codes, errors as lines, what is printed and what never is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click
import pytest
import redis
import structlog

from cli.exits import MEANINGS, CommandError, ExitCode
from cli.main import assetq, run
from cli.show.errors import explain
from cli.show.output import cell, print_json, print_table
from db.errors import BadDatabaseUrl, DatabaseUnavailable, MigrationMissing
from market.errors import InvalidTicker
from queueing import InvalidRequest, LeaseLost
from settings import SettingsError


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_help_lists_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for name in assetq.list_commands(click.Context(assetq)):
        assert f"  {name}" in text
    for code, meaning in MEANINGS.items():
        assert f"{int(code):>3}  {meaning}" in text


def test_help_imports_neither_redis_nor_postgresql() -> None:
    code = (
        "import sys; from cli.main import run; run(['--help']);"
        "slow = {'redis', 'psycopg', 'pydantic', 'rich', 'rq'} & set(sys.modules);"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_dash_m_cli_is_the_same_command(project_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "--version"],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("assetq ")


@pytest.mark.parametrize("command", assetq.list_commands(click.Context(assetq)))
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: assetq {command}")
    found = assetq.get_command(click.Context(assetq), command)
    assert found is not None
    for name in getattr(found, "commands", {}):
        assert run([command, name, "--help"]) == 0
    read_only = {"queue": ("stats", "list", "peek"), "dead": ("list",), "symbols": ("list",),
                 "limiter": ("status",), "schedule": ("list",)}  # fmt: skip
    for name in read_only.get(command, ()):
        capsys.readouterr()
        run([command, name, "--help"])
        assert "--json" in capsys.readouterr().out


def test_without_a_command_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == ExitCode.USAGE
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (CommandError("no. Do it.", ExitCode.REFUSED), 5, "no. Do it."),
        (SettingsError(["A: x", "B: y"]), 3, "A: x|B: y"),
        (InvalidRequest("priority 9: use 1 to 4"), 2, "priority 9: use 1 to 4."),
        (InvalidTicker("'x' is not a ticker"), 2, "'x' is not a ticker."),
        (LeaseLost(["A"]), 1, "lease lost for A"),
        (MigrationMissing(), 1, "Run `assetq migrate`."),
        (BadDatabaseUrl(), 3, "DATABASE_URL"),
        (DatabaseUnavailable("r", host="h", port="1", dbname="d", user="u"), 4, "h:1"),
        (
            redis.ConnectionError("Error 111"),
            4,
            "Redis does not answer (Error 111), at REDIS. Start Redis",
        ),
        (redis.TimeoutError("slow"), 4, "does not answer (no answer in time)"),
        (redis.AuthenticationError("WRONGPASS"), 4, "refuses the login"),
        (redis.ResponseError("OOM command not allowed"), 5, "has no memory left"),
        (redis.ResponseError("WRONGTYPE Operation"), 1, "holds something else, at REDIS"),
        (redis.ResponseError("DB index is out of range"), 3, "no database of that number"),
        (redis.ReadOnlyError("replica"), 1, "read-only replica"),
    ],
)
def test_errors_become_lines_and_codes(error: Exception, code: int, told: str) -> None:
    explained = explain(error, redis_at="REDIS")
    assert explained is not None
    assert explained.code == code
    assert told in "|".join(explained.lines)


def test_an_error_that_nobody_expected_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of\nall things")

    monkeypatch.setattr("settings.Settings.load", broken)
    assert run(["queue", "stats"]) == ExitCode.OTHER
    told = capsys.readouterr().err
    assert told == (
        "assetq: unexpected ZeroDivisionError: of all things. This is a defect. "
        "ASSETQ_DEBUG=1 shows where.\n"
    )


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, click.Abort])
def test_an_interruption_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    interruption: type[BaseException],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise interruption

    monkeypatch.setattr("settings.Settings.load", interrupted)
    assert run(["queue", "stats"]) == 130
    assert capsys.readouterr().err.strip() == ""


def test_a_piped_table_is_plain_text_without_cuts(capsys: pytest.CaptureFixture[str]) -> None:
    wide = "x" * 300
    print_table(["name", ">number"], [("a", 1), (wide, 22)], empty="none")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{'name':<300}  number"
    assert lines[1] == f"{'a':<300}       1"
    assert lines[2] == f"{wide}      22"
    print_table(["name"], [], empty="none")
    assert capsys.readouterr().out == "none\n"


def test_what_drives_a_terminal_is_taken_out() -> None:
    assert cell("a\x1b[31mb\nc\u202ed") == "a [31mb c d"


def test_json_has_numbers_for_prices_and_iso_for_instants(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"price": Decimal("1.5"), "at": datetime(2026, 1, 4, tzinfo=UTC)})
    text = capsys.readouterr().out
    assert '"price": 1.5' in text
    assert '"at": "2026-01-04T00:00:00+00:00"' in text
