"""Commands in another terminal mean the `assetq up` that runs here, unless told otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.commands.doctor.configuration import sources
from cli.session import environment, load_settings
from local.servers.state import DataDir

RUN = {
    "REDIS_URL": "redis://127.0.0.1:7001/0",
    "DATABASE_URL": "postgresql://assetq:pw@127.0.0.1:7002/assetq",
    "POLYGON_BASE_URL": "http://127.0.0.1:7003",
    "MASSIVE_API_KEY": "sandbox",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if `assetq up` ran: its data directory is locked."""
    monkeypatch.chdir(tmp_path)
    for name in (*RUN, "POLYGON_API_KEY", "DB_HOST", "ASSETQ_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    data = DataDir(tmp_path / "data")
    monkeypatch.setenv("ASSETQ_DATA_DIR", str(data.path))
    data.create()
    lock = data.lock()
    data.write_environment(RUN)
    yield
    os.close(lock)


@pytest.mark.usefixtures("run")
def test_a_run_here_is_what_commands_mean() -> None:
    settings = load_settings()
    assert settings.redis_url == RUN["REDIS_URL"]
    assert settings.database_url == RUN["DATABASE_URL"]
    assert settings.base_url == RUN["POLYGON_BASE_URL"]
    assert settings.required_api_key().get_secret_value() == "sandbox"


@pytest.mark.usefixtures("run")
def test_it_wins_over_dotenv_as_it_does_for_its_own_processes(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POLYGON_BASE_URL=https://elsewhere\nQUEUE_MAX_SIZE=7\n")
    settings = load_settings()
    assert settings.base_url == RUN["POLYGON_BASE_URL"]
    assert settings.queue_max_size == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [("REDIS_URL", "redis://other:6379/0"), ("DB_HOST", "other"), ("MASSIVE_API_KEY", "real")],
)
@pytest.mark.usefixtures("run")
def test_two_sites_are_never_mixed(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    found = environment()
    assert found[name] == value
    assert not {key for key in RUN if key != name} & found.keys()


@pytest.mark.usefixtures("run")
def test_an_empty_or_equal_value_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", RUN["REDIS_URL"])
    monkeypatch.setenv("DATABASE_URL", "")
    assert RUN.items() <= environment().items()


def test_a_run_that_has_ended_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    data.write_environment(RUN)
    monkeypatch.setenv("ASSETQ_DATA_DIR", str(data.path))
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert "REDIS_URL" not in environment()


@pytest.mark.usefixtures("run")
def test_doctor_tells_which_settings_are_those_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("POLYGON_BASE_URL=https://elsewhere\nQUEUE_MAX_SIZE=7\n")
    monkeypatch.setenv("REDIS_URL", RUN["REDIS_URL"])
    (told,) = sources(load_settings())
    assert told.text.startswith("environment: REDIS_URL; the `assetq up` that runs here: ")
    assert "DATABASE_URL, MASSIVE_API_KEY, POLYGON_BASE_URL; /" in told.text
    assert told.text.endswith("/.env: QUEUE_MAX_SIZE; the others are defaults")
