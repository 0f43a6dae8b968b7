"""rediss:// with a self-signed certificate, as hosts have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import redis

from local.sandbox import SandboxServer
from tests.kit import worker as worker_kit
from tests.kit.cli_runs import Cli, Done
from tests.kit.security import REDIS_PASSWORD, TlsFront, acl_user
from tests.kit.waiting import eventually
from tests.kit.worker import CRITICAL, Running, Site, process_env, settings_for


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter") as server:
        yield server


@pytest.fixture
def front(r: redis.Redis, tmp_path: Path) -> Iterator[TlsFront]:
    one = TlsFront(tmp_path, int(r.connection_pool.connection_kwargs["port"]))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def env(
    r: redis.Redis, front: TlsFront, migrated_url: str, provider: SandboxServer, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """Of a process that goes through TLS only, as a user with a password."""
    with acl_user(r) as url, Site.open(settings_for(url, migrated_url, provider.url), CRITICAL):
        secure = url.replace("redis://", "rediss://").replace(
            f":{r.connection_pool.connection_kwargs['port']}/", f":{front.port}/"
        )
        settings = settings_for(secure, migrated_url, provider.url)
        yield process_env(settings, tmp_path, PYTHONUNBUFFERED="1", REDIS_TLS_VERIFY="false")


def _healthy(cli: Cli) -> Done | None:
    done = cli.here("doctor")
    return done if done.code == 0 else None


def test_the_work_goes_through_tls_without_verification(
    env: dict[str, str],
    front: TlsFront,
    r: redis.Redis,
    project_root: Path,
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        fleet = []
        for name in ("scheduler", "worker"):
            one = Running(project_root, name, env, tmp_path / f"{name}.log")
            stack.callback(one.end)
            fleet.append(one)
        eventually(lambda: r.xlen("assetq:{massive}:updates") >= 3, what="the batch")
        assert front.accepted >= 3
        cli = Cli(tmp_path, env)
        done = eventually(partial(_healthy, cli), every_s=0.3)
        assert f"rediss://***@127.0.0.1:{front.port}/0" in done.out
        assert [one.terminate(25) for one in fleet] == [0, 0]
        for one in fleet:
            assert "Traceback" not in one.output
            assert REDIS_PASSWORD not in one.output + "".join(cli.said)


@pytest.mark.parametrize("command", ["queue stats", "rebuild"])
def test_with_verification_it_is_refused_in_one_line(
    env: dict[str, str], front: TlsFront, tmp_path: Path, command: str
) -> None:
    cli = Cli(tmp_path, env)
    done = cli.here(*command.split(), REDIS_TLS_VERIFY="true")
    done.failed(4, "certificate of Redis is refused", "self-signed", "REDIS_TLS_VERIFY=false")
    checks = cli.here("doctor", "--json", REDIS_TLS_VERIFY="true").json["checks"]
    [told] = [c for c in checks if c["check"] == "redis"]
    assert "certificate of Redis is refused" in told["text"]
    assert "REDIS_TLS_VERIFY=false" in told["remedy"]
    assert front.accepted == 0
    assert REDIS_PASSWORD not in "".join(cli.said)


@pytest.mark.parametrize("name", ["worker", "scheduler"])
def test_processes_say_so_too_and_send_no_password(
    env: dict[str, str], front: TlsFront, project_root: Path, tmp_path: Path, name: str
) -> None:
    strict = env | {"REDIS_TLS_VERIFY": "true"}
    one = Running(project_root, name, strict, tmp_path / f"{name}.log")
    try:
        one.until("certificate verify failed")
        assert "Traceback" not in one.output
        assert front.accepted == 0
        assert REDIS_PASSWORD not in one.output
    finally:
        one.end()


def test_a_certificate_that_is_trusted_needs_the_right_name(
    env: dict[str, str], front: TlsFront, tmp_path: Path
) -> None:
    """The authority may be named in the URL; the host is still compared."""
    ca = f"?ssl_ca_certs={front.certificate}"
    cli = Cli(tmp_path, env)
    url = env["REDIS_URL"].partition("?")[0]
    done = cli.here("queue", "stats", REDIS_TLS_VERIFY="true", REDIS_URL=url + ca)
    done.failed(4, "certificate of Redis is refused")
    without_name = f"{url}{ca}&ssl_check_hostname=false"
    assert cli.here("queue", "stats", REDIS_TLS_VERIFY="true", REDIS_URL=without_name).code == 0
