"""Keys and passwords turn up nowhere: logs, Redis, tables, pages, process list, tracebacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import requests
import structlog

from cli.commands.acl import USER
from db.connection import connect
from local.sandbox import SandboxServer
from runtime.logs import configure
from tests.acceptance.test_pipeline import everything_in
from tests.kit import worker as worker_kit
from tests.kit.cli_runs import Cli
from tests.kit.db_data import run
from tests.kit.ports import own_port
from tests.kit.security import REDIS_PASSWORD, ROLE, ROLE_PASSWORD, acl_user, least_role
from tests.kit.waiting import answers, eventually
from tests.kit.worker import CRITICAL, Running, Site, process_env, settings_for

API_KEY, WEB_PASSWORD = "MarkKey%2F/87+a", "MarkWeb@88:x"
MARKS = ("MarkKey", "MarkWeb", "MarkRedis", "MarkRole")
"""The beginning of each secret: no part of one may be seen either."""
PAGES = (
    *("/", "/health/batch", "/metrics", "/healthz", "/nothing", "/rq/", "/rq/0/view/queues"),
    *("/rq/0/view/workers", "/rq/0/data/workers.json", "/rq/0/data/queues.json", "/rq/0/data/x"),
    *("/rq/0/data/jobs/assetq-massive/finished/50/asc/1.json", "/rq/0/data/job/none.json"),
)


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter", key=API_KEY) as server:
        yield server


def clean(what: str, text: str) -> None:
    for mark in MARKS:
        assert mark not in text, f"{mark} in {what}: {text[max(0, text.index(mark) - 200) :][:400]}"


def command_lines(pids: list[int]) -> Iterator[str]:
    for pid in pids:
        for name in ("cmdline", "comm"):
            try:
                text = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue
            yield text.replace(b"\0", b" ").decode(errors="replace")


def test_no_secret_is_seen_whatever_goes_wrong(
    r: redis.Redis,
    redis_url: str,
    migrated_url: str,
    provider: SandboxServer,
    project_root: Path,
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        least_redis = stack.enter_context(acl_user(r))
        least_postgres = stack.enter_context(least_role(migrated_url))
        settings = settings_for(least_redis, least_postgres, provider.url, massive_api_key=API_KEY)
        owner = settings_for(least_redis, migrated_url, provider.url, massive_api_key=API_KEY)
        site = stack.enter_context(Site.open(owner, CRITICAL))
        env = process_env(
            settings,
            tmp_path,
            PYTHONUNBUFFERED="1",
            ASSETQ_DEBUG="1",
            PORT=str(own_port()),
            WEB_PASSWORD=WEB_PASSWORD,
        )
        fleet: list[Running] = []
        for name in ("scheduler", "worker", "web"):
            one = Running(project_root, name, env, tmp_path / f"{name}.log")
            stack.callback(one.end)
            fleet.append(one)
        worker = fleet[1]
        seen: list[str] = []

        def look() -> bool:
            """At the process list while work-horses come and go."""
            pids = [pid for one in fleet for pid in (one.process.pid, *one.horses())]
            seen.extend(command_lines(pids))
            return len(set(site.events())) == len(CRITICAL)

        eventually(look, what="the batch")
        eventually(lambda: answers(f"http://127.0.0.1:{env['PORT']}/healthz"))
        session = stack.enter_context(requests.Session())
        session.trust_env, session.auth = False, ("admin", WEB_PASSWORD)

        def pages(some: tuple[str, ...] = PAGES) -> Iterator[str]:
            for page in some:
                answer = session.get(f"http://127.0.0.1:{env['PORT']}{page}", timeout=10)
                yield f"{page}: {answer.headers} {answer.text}"

        seen += pages()
        cli = Cli(tmp_path, env)
        for line in ("doctor", "queue stats", "dead list", "limiter status", "symbols list"):
            cli.here(*line.split())

        # The provider does not know the key any more: refused calls are stored and told.
        assert worker.terminate(25) == 0
        other = env | {"MASSIVE_API_KEY": "MarkKeyOther"}
        worker = fleet[1] = Running(project_root, "worker", other, tmp_path / "worker.log")
        stack.callback(worker.end)
        site.ask("EURUSD", at=1)
        site.ticks.push("drain")
        eventually(lambda: "Unauthorized" in worker.output)
        refused = "SELECT count(*) FROM data_sources.api_calls WHERE status = 401"
        eventually(lambda: site.one(refused))
        cli.here("limiter", "status")

        # Both stores refuse the login.
        run(migrated_url, f"ALTER ROLE {ROLE} NOLOGIN")
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"
        run(migrated_url, cut)
        site.ticks.push("drain")
        site.context.queue.wake()
        eventually(lambda: "tick.database" in worker.output)
        with redis.Redis.from_url(redis_url) as plain:
            for key, value in eventually(lambda: list(everything_in(plain))):
                clean(f"Redis key {key}", f"{key} {value}")
        r.execute_command("ACL", "SETUSER", USER, "resetpass", ">other")
        r.client_kill_filter(_type="normal", user=USER)
        eventually(lambda: "refuses the login" in fleet[0].output)
        seen += pages(("/health/batch", "/metrics", "/rq/0/data/queues.json"))
        for line in ("doctor", "queue stats", "symbols list", "rebuild"):
            assert cli.here(*line.split()).code != 0
        for url in ("REDIS_URL", "DATABASE_URL"):
            for broken in ("?ssl=MarkRedis", "/x:y@z", "#MarkRole"):
                cli.here("queue", "stats", **{url: env[url] + broken})

        for text in seen:
            clean("what was seen", text)
        clean(
            "the commands", "".join(cli.said).replace("?ssl=MarkRedis", "").replace("#MarkRole", "")
        )
        for one in fleet:
            clean("a log", one.output)
        assert len(seen) > len(PAGES)
        assert any("rq" in text for text in seen)
        with connect(migrated_url) as connection:
            for table in ("api_calls", "data_sync_status", "api_providers"):
                rows = connection.execute(f"SELECT t::text FROM data_sources.{table} t".encode())
                clean(table, str(rows.fetchall()))
    assert REDIS_PASSWORD.startswith(MARKS[2])
    assert ROLE_PASSWORD.startswith(MARKS[3])


def test_a_log_line_tells_no_secret_even_if_it_is_handed_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = settings_for(
        "redis://u:MarkRedis%40x@h:1/0",
        "postgresql://u:MarkRole%2Fx@h/d",
        "http://h",
        massive_api_key=API_KEY,
        web_password=WEB_PASSWORD,
    )
    try:
        configure(settings)
        told = ["MarkRedis%40x", "MarkRedis@x", "MarkRole/x", API_KEY, WEB_PASSWORD]
        structlog.get_logger().error("odd", told=told, url=settings.redis_url)
    finally:
        structlog.reset_defaults()
    line = capsys.readouterr().err
    assert "event='odd'" in line
    clean("the line", line)


@pytest.mark.parametrize("process", ["worker", "scheduler", "web"])
def test_a_key_in_the_path_of_the_settings_is_not_told(process: str, tmp_path: Path) -> None:
    """The settings cannot be read, and what masks secrets then knows the environment alone."""
    env = {"MASSIVE_API_KEY": "MarkKey4711", "ASSETQ_CONFIG": str(tmp_path / "MarkKey4711.yml")}
    done = Cli(tmp_path, env)(process)
    done.failed(3, "/***.yml: cannot be read")
    clean(process, done.out + done.err)
