"""rq-dashboard under /rq: behind its login, without pickle, password or changes from elsewhere."""

from __future__ import annotations

import pickle
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue, Worker
from werkzeug.test import TestResponse

from queueing import Keys
from settings import Settings
from web.app import create_app
from worker.rq_classes import TickJob, TickWorker
from worker.ticks import Ticks

PASSWORD = "correct horse: battery"
LOGIN = {"Authorization": "Basic " + b64encode(f"admin:{PASSWORD}".encode()).decode()}


def settings_of(redis_url: str, **more: str) -> Settings:
    given = {"REDIS_URL": redis_url, "DATABASE_URL": "postgresql://127.0.0.1:1/none", **more}
    return Settings.model_validate(given)


@pytest.fixture
def app(redis_url: str) -> Flask:
    return create_app(settings_of(redis_url, WEB_PASSWORD=PASSWORD))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def ticks(r: Redis) -> Iterator[Ticks]:
    ticks = Ticks(r, Keys())
    yield ticks
    ticks.close()


@pytest.fixture
def raw(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def get(client: FlaskClient, path: str) -> TestResponse:
    return client.get(path, headers=LOGIN, follow_redirects=True)


def pages(app: Flask, job_id: str, queue: str) -> list[str]:
    """Every address of the dashboard that shows something."""
    values = {
        "instance_number": "0",
        "queue_name": queue,
        "per_page": "8",
        "order": "asc",
        "page": "1",
        "job_id": job_id,
    }
    found = []
    registries = ("queued", "failed", "started", "finished", "deferred", "scheduled", "canceled")
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/rq/") or "GET" not in (rule.methods or ()):
            continue
        if rule.endpoint.endswith((".static", ".favicon", ".requeue_all")):
            continue
        for registry in registries if "registry_name" in rule.arguments else ("",):
            path = rule.rule.replace("<int:", "<")
            for name, value in {**values, "registry_name": registry}.items():
                path = path.replace(f"<{name}>", value)
            found.append(path)
    assert len(found) > 20
    return found


def test_without_a_password_there_is_no_dashboard(redis_url: str) -> None:
    client = create_app(settings_of(redis_url)).test_client()
    for path in ("/rq", "/rq/", "/rq/0/view/workers", "/rq/queue/assetq-massive/queued/empty"):
        answer = client.get(path, headers=LOGIN)
        assert answer.status_code == 404
        assert "set WEB_PASSWORD" in answer.text
    emptied = client.post("/rq/queue/assetq-massive/queued/empty", headers=LOGIN)
    assert emptied.status_code in (404, 405)


@pytest.mark.parametrize(
    "login",
    [
        "",
        "Basic",
        "Basic !",
        "Basic " + b64encode(b"admin:").decode(),
        "Basic " + b64encode(b"admin:correct horse").decode(),
        "Basic " + b64encode(f"root:{PASSWORD}".encode()).decode(),
        "Basic " + b64encode(b"\xff\xfe:\xff").decode(),
        "Bearer " + PASSWORD,
        'Digest username="admin"',
    ],
)
def test_nothing_without_the_login(app: Flask, ticks: Ticks, login: str) -> None:
    tick = ticks.push("drain")
    client = app.test_client()
    headers = {"Authorization": login} if login else {}
    for path in [
        *pages(app, tick, "assetq-massive"),
        "/rq",
        "/rq/static/css/main.css",
        "/rq/nothing",
    ]:
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
        answer = client.open(f"/rq/job/{tick}/delete", method=method, headers=headers)
        assert answer.status_code == 401, method
    assert ticks.waiting("drain")


def test_lists_the_ticks_and_the_workers(
    app: Flask, client: FlaskClient, ticks: Ticks, raw: Redis
) -> None:
    running = ticks.push("batch", "1764000000")
    waiting = ticks.push("drain")
    worker = TickWorker([ticks.queue], connection=raw, job_class=TickJob, serializer="json")
    worker.register_birth()
    job, _ = worker.dequeue_job_and_maintain_ttl(timeout=None) or (None, None)
    assert job
    assert job.id == running
    worker.prepare_execution(job)
    worker.prepare_job_execution(job)
    worker.set_state("busy")

    workers = client.get("/rq/0/data/workers.json", headers=LOGIN).get_json()["workers"]
    assert [(w["queues"], w["state"]) for w in workers] == [(["assetq-massive"], "busy")]
    assert workers[0]["current_job"]["call_string"] == "worker.tasks.batch('1764000000')"
    queues = client.get("/rq/0/data/queues.json", headers=LOGIN).get_json()["queues"]
    assert [(q["name"], q["count"], q["started_job_registry_count"]) for q in queues] == [
        ("assetq-massive", 1, 1)
    ]
    path = "/rq/0/data/jobs/assetq-massive/queued/8/asc/1.json"
    jobs = client.get(path, headers=LOGIN).get_json()["jobs"]
    assert [(j["id"], j["description"]) for j in jobs] == [(waiting, "drain")]
    for path in pages(app, running, "assetq-massive"):
        assert get(client, path).status_code == 200, path
    worker.register_death()


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_no_pickle_is_ever_read(
    app: Flask, client: FlaskClient, raw: Redis, tmp_path: Path
) -> None:
    mark = tmp_path / "exploded"
    bomb = pickle.dumps(Bomb(mark))
    queue = Queue("theirs", connection=raw)
    job = queue.enqueue("theirs.work", job_id="evil")
    theirs = Worker([queue], connection=raw)  # as another program runs it: with pickle
    theirs.register_birth()
    theirs.prepare_execution(job)
    for field, value in (("data", zlib.compress(bomb)), ("meta", bomb), ("result", bomb)):
        raw.hset("rq:job:evil", field, value)
    result: Any = {"type": "1", "created_at": "1764000000.0", "return_value": b64encode(bomb)}
    raw.xadd("rq:results:evil", result)

    for path in pages(app, "evil", "theirs"):
        assert get(client, path).status_code == 200, path
    assert "evil" in client.get(
        "/rq/0/data/jobs/theirs/queued/8/asc/1.json", headers=LOGIN
    ).get_data(as_text=True)
    for path in ("/rq/job/evil/requeue", "/rq/requeue/theirs", "/rq/queue/theirs/queued/empty"):
        client.post(path, headers=LOGIN)
    client.post("/rq/job/evil/delete", headers=LOGIN)
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.exists()  # it would have told


def test_a_failed_tick_is_requeued_as_it_was(client: FlaskClient, ticks: Ticks) -> None:
    tick = ticks.push("batch", "1764000000")
    job = TickJob.fetch(tick, connection=ticks.queue.connection)
    ticks.queue.remove(job)
    ticks.queue.failed_job_registry.add(job, ttl=60)
    answer = client.post("/rq/requeue/assetq-massive", headers=LOGIN)
    assert answer.get_json() == {"status": "OK", "count": 1}
    again = TickJob.fetch(tick, connection=ticks.queue.connection)
    assert (again.func_name, again.args) == ("worker.tasks.batch", ["1764000000"])
    assert ticks.waiting("batch")


@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
)
def test_a_page_of_another_site_changes_nothing(
    client: FlaskClient, ticks: Ticks, sent: dict[str, str]
) -> None:
    ticks.push("drain")
    empty = "/rq/queue/assetq-massive/queued/empty"
    assert client.post(empty, headers={**LOGIN, **sent}).status_code == 403
    assert ticks.waiting("drain")
    ours = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert client.post(empty, headers={**LOGIN, **ours}).status_code == 200
    assert not ticks.waiting("drain")


@pytest.mark.parametrize(
    "said", [{"Sec-Fetch-Site": "same-origin"}, {"X-Requested-With": "XMLHttpRequest"}]
)
def test_buttons_work_behind_a_proxy_that_changes_the_host(
    client: FlaskClient, ticks: Ticks, said: dict[str, str]
) -> None:
    ticks.push("drain")
    behind = {"Host": "127.0.0.1:8000", "Origin": "https://assets.example", **said}
    empty = "/rq/queue/assetq-massive/queued/empty"
    assert client.post(empty, headers={**LOGIN, **behind}).status_code == 200
    assert not ticks.waiting("drain")


def test_guessing_passwords_is_throttled(client: FlaskClient) -> None:
    wrong = {"Authorization": "Basic " + b64encode(b"admin:guess").decode()}
    assert {client.get("/rq/", headers=wrong).status_code for _ in range(60)} == {401}
    refused = client.get("/rq/", headers=LOGIN)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    elsewhere = client.get("/rq/", headers=LOGIN, environ_base={"REMOTE_ADDR": "10.0.0.9"})
    assert elsewhere.status_code == 200
    assert client.get("/healthz").status_code == 200


def test_a_link_changes_nothing(client: FlaskClient) -> None:
    assert client.get("/rq/requeue/assetq-massive", headers=LOGIN).status_code == 405


def test_no_page_shows_a_password(r: Redis, ticks: Ticks) -> None:
    tick = ticks.push("drain")
    r.config_set("requirepass", "ge@heim/1")
    try:
        port = r.connection_pool.connection_kwargs["port"]
        for url in (
            f"redis://default:ge%40heim%2F1@127.0.0.1:{port}/0",
            f"redis://127.0.0.1:{port}/0?password=ge%40heim%2F1",
        ):
            app = create_app(settings_of(url, WEB_PASSWORD=PASSWORD))
            client = app.test_client()
            for path in [*pages(app, tick, "assetq-massive"), "/health/batch", "/metrics", "/"]:
                answer = get(client, path)
                assert answer.status_code in (200, 503), path
                assert "heim" not in answer.text, path
            assert client.get("/health/batch").get_json()["servers"]["redis"] is True
    finally:
        with Redis(port=port, password="ge@heim/1") as client_:
            client_.config_set("requirepass", "")


def test_every_answer_has_its_headers(client: FlaskClient) -> None:
    for path in ("/", "/health/batch", "/metrics", "/healthz", "/nothing", "/rq/", "/rq"):
        for headers in ({}, LOGIN):
            answer = client.get(path, headers=headers)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Cache-Control"] == "no-store"


def test_only_the_dashboards_own_script_may_run(client: FlaskClient) -> None:
    first, second = (client.get("/rq/", headers=LOGIN) for _ in range(2))
    policy = first.headers["Content-Security-Policy"]
    assert policy != second.headers["Content-Security-Policy"]
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert len(nonce) > 16
    assert first.text.count(f'nonce="{nonce}"') == 1
    assert "script-src 'self' 'unsafe-inline'" not in policy


def test_what_is_not_there_is_a_sentence(client: FlaskClient) -> None:
    for path, code in (
        ("/nothing", 404),
        ("/rq/0/view/job/gone", 404),
        ("/rq/0/data/job/gone.json", 404),
        ("/rq/9/data/queues.json", 404),
        ("/rq/0/data/jobs/assetq-massive/none/8/asc/1.json", 404),
    ):
        answer = client.get(path, headers=LOGIN)
        assert answer.status_code == code, path
        assert "Traceback" not in answer.text
