"""`assetq doctor`: finds what is wrong, names the cause and the remedy, changes nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from cli.commands.doctor.processes import WORKER_LINE
from local.sandbox import SandboxServer
from tests.kit.cli_runs import Cli
from tests.kit.db_data import run
from tests.kit.waiting import eventually

PROXY_PASSWORD = "planted-proxy-password"


@pytest.fixture
def cli(tmp_path: Path, redis_url: str, migrated_url: str, sandbox: SandboxServer) -> Cli:
    return Cli(
        tmp_path,
        {
            "REDIS_URL": redis_url,
            "DATABASE_URL": migrated_url,
            "POLYGON_BASE_URL": sandbox.url,
            "MASSIVE_API_KEY": "some-key",
        },
    )


def checks(cli: Cli, **env: str) -> dict[str, dict[str, Any]]:
    """Check → its worst finding."""
    order = {"ok": 0, "warn": 1, "fail": 2}
    found: dict[str, dict[str, Any]] = {}
    done = cli.here("doctor", "--json", **env)
    for finding in done.json["checks"]:
        standing = found.get(finding["check"])
        if standing is None or order[standing["status"]] < order[finding["status"]]:
            found[finding["check"]] = finding
    assert done.code == (0 if done.json["ok"] else 1)
    assert done.json["ok"] == all(f["status"] != "fail" for f in found.values())
    return found


@contextmanager
def process(cli: Cli, root: Path, *argv: str) -> Iterator[None]:
    running = subprocess.Popen(
        argv,
        cwd=root,
        env=cli.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        running.terminate()
        running.wait(30)


def rq(*options: str) -> tuple[str, ...]:
    return (str(Path(sys.executable).with_name("rq")), *options)


def test_the_worker_line_is_that_of_the_procfile(project_root: Path) -> None:
    assert f"bin/{WORKER_LINE}" in (project_root / "Procfile").read_text()


def test_from_nothing_to_healthy(
    cli: Cli, project_root: Path, sandbox: SandboxServer, r: redis.Redis
) -> None:
    before = checks(cli)
    assert sorted(r.scan_iter()) == []  # it only looks
    assert before["workers"]["remedy"] == f"Start one: {WORKER_LINE}"
    assert {name for name, finding in before.items() if finding["status"] == "fail"} == {
        "workers",
        "scheduler",
        "symbols",
    }
    assert before["symbols"]["remedy"] == "Run `assetq symbols import`."
    assert cli.here("symbols", "import").code == 0
    worker, scheduler = ("bin/assetq", "worker"), ("bin/assetq", "scheduler")
    with process(cli, project_root, *worker), process(cli, project_root, *scheduler):

        def healthy() -> bool:
            found = checks(cli)
            bad = [f for f in found.values() if f["status"] != "ok"]
            assert not bad, bad
            return True

        eventually(healthy, 30)
        text = cli.here("doctor")
    assert text.code == 0
    assert text.out.splitlines()[-1].endswith("0 warn, 0 fail")
    assert "some-key" not in text.out


def test_a_worker_without_our_serializer_and_classes_is_named(
    cli: Cli, project_root: Path, r: redis.Redis
) -> None:
    cli.here("symbols", "import")
    with process(cli, project_root, *rq("worker", "-c", "worker.rq_config")):

        def named() -> dict[str, dict[str, Any]]:
            cli.here("enqueue", "XAUUSD")  # a tick for it to stumble over
            found = checks(cli)
            return found if "rq workers" in found and found["ticks"]["status"] == "fail" else {}

        found = eventually(named, 30, every_s=0.2)
    assert "not started as assetq needs it" in found["rq workers"]["text"]
    assert WORKER_LINE in found["rq workers"]["remedy"]
    assert "without `-S json`" in found["ticks"]["text"]
    eventually(lambda: "rq workers" not in checks(cli), 10)


def test_stray_keys_blocks_and_a_lossy_redis_are_told(cli: Cli, r: redis.Redis) -> None:
    r.set("assetq:{massive}:stray", "1")
    r.config_set("maxmemory-policy", "allkeys-lru")
    r.config_set("maxmemory", "1gb")
    cli.here("limiter", "block", "60", "--reason", "lunch")
    try:
        found = checks(cli)
    finally:
        r.config_set("maxmemory-policy", "noeviction")
        r.config_set("maxmemory", "0")
    assert "assetq:{massive}:stray" in found["redis keys"]["text"]
    assert "noeviction" in found["redis"]["remedy"]
    assert "lunch" in found["quota"]["text"]


def test_servers_that_are_down_do_not_hide_the_other_checks(cli: Cli, database_url: str) -> None:
    found = checks(cli, REDIS_URL="redis://127.0.0.1:1/0", POLYGON_BASE_URL="http://127.0.0.1:1")
    assert "does not answer" in found["redis"]["text"]
    assert found["migrations"]["status"] == "ok"
    assert found["provider"]["status"] == "fail"
    assert checks(cli, DATABASE_URL=database_url)["migrations"]["remedy"] == "Run `assetq migrate`."


def test_a_proxy_is_asked_to_connect_and_nothing_is_sent_to_the_provider(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = cli.start(
            "doctor",
            "--json",
            POLYGON_BASE_URL="https://provider.invalid",
            HTTPS_PROXY=f"http://u:{PROXY_PASSWORD}@127.0.0.1:{port}",
        )
        try:
            listener.settimeout(30)
            connection, _ = listener.accept()
            with connection:
                head = connection.recv(4096)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            out, err = done.communicate(timeout=30)
        finally:
            done.kill()
            done.communicate()
    assert head.startswith(b"CONNECT provider.invalid:443 ")
    assert "403" in out
    assert "through the proxy 127.0.0.1" in out
    assert PROXY_PASSWORD not in out + err


def test_slips_in_names_and_overruled_values_are_told(cli: Cli) -> None:
    (cli.cwd / ".env").write_text(
        "POLYGON_RATE_LIMITS=7\nMASSIVE_API_KEY=the-other-key\nQUEUE_MAX_SIZE=10\n"
    )
    text = cli.here("doctor").out
    assert "nobody reads POLYGON_RATE_LIMITS" in text
    assert "Did you mean POLYGON_RATE_LIMIT?" in text
    assert "overrules .env for MASSIVE_API_KEY" in text
    assert "the-other-key" not in text


def test_rules_of_the_users_tables_are_named(cli: Cli, migrated_url: str) -> None:
    run(
        migrated_url,
        """
        INSERT INTO trading.symbols (symbol) VALUES ('SHIBUSD');
        ALTER TABLE data_sources.data_sync_status
            ADD CONSTRAINT known CHECK (sync_status IN ('pending', 'success', 'failed'));
        """,
    )
    found = checks(cli)
    assert found["writes"]["status"] == "ok"
    assert found["tables"]["status"] == "warn"
    assert 'violates check constraint "known"' in found["tables"]["text"]


def test_writes_that_would_be_refused_are_named(cli: Cli, migrated_url: str) -> None:
    name = migrated_url.rpartition("/")[2]
    run(migrated_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    found = checks(cli)
    assert found["postgresql"]["status"] == "ok"
    assert found["writes"]["status"] == "fail"
    assert "read-only" in found["writes"]["text"]
    assert "primary" in found["writes"]["remedy"]
