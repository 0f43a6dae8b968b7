"""rq-dashboard under /rq, behind the login: ticks and workers as RQ's registries list them.

As it comes, it reads most jobs with pickle, which runs whatever code an external writer put into
Redis; it opens connections of its own from a URL that its pages show; and it changes things when
any page on the web asks the browser to. Here it reads JSON only, is given a connection and a URL
without a password, and changes things for its own pages alone.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import rq_dashboard.web as rq_dashboard
from flask import Flask, Request, Response, abort, current_app, g, request
from redis import Redis
from rq import Queue, Worker
from rq.job import Job

from runtime.redis_client import open_redis
from settings import Settings
from settings.urls import redacted_url
from web.access import Door
from web.security import new_nonce

PREFIX = "/rq"
SWITCHED_OFF = (
    "The RQ dashboard is switched off: set WEB_PASSWORD and restart the web process, then log in "
    "as admin.\n"
)
NOT_JSON = "(of an external writer, not shown)"
TIMEOUT_S = 5.0
_CONNECTION = "assetq_rq_redis"
_POLICY = (
    # Its templates are compiled in the browser, hence unsafe-eval; but only its own scripts run.
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_REGISTRIES = {"queued", "failed", "deferred", "started", "finished", "scheduled", "canceled"}
_INLINE_SCRIPT = re.compile(rb'<script type="text/javascript">')


class ShownJson:
    """A serializer that reads JSON only; the rest is replaced by a remark."""

    @staticmethod
    def dumps(*args: Any, **kwargs: Any) -> bytes:
        """Write JSON as RQ does."""
        return json.dumps(*args, **kwargs).encode()

    @staticmethod
    def loads(data: bytes) -> Any:
        """Read JSON, or return a remark that it cannot be shown."""
        try:
            return json.loads(data)
        except ValueError:
            return NOT_JSON


class ShownJob(Job):
    """A job of any origin, read as JSON whatever serializer is asked for."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None):
        super().__init__(id=id, connection=connection, serializer=ShownJson)

    def _deserialize_data(self) -> None:
        found = self.serializer.loads(self.data)
        if isinstance(found, Sequence) and not isinstance(found, str) and len(found) == 4:
            self._func_name, self._instance, self._args, self._kwargs = found
        else:
            self._func_name, self._instance, self._args, self._kwargs = NOT_JSON, None, (), {}


class ShownQueue(Queue):
    """A queue whose jobs are read as JSON."""

    job_class = ShownJob

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "job_class": ShownJob, "serializer": ShownJson})


class ShownWorker(Worker):
    """A worker whose job is read as JSON."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = {"job_class": ShownJob, "queue_class": ShownQueue, "serializer": ShownJson}
        super().__init__(*args, **{**kwargs, **given})


def mount(app: Flask, settings: Settings, door: Door) -> None:
    """Serve rq-dashboard under /rq, or a sentence that tells how to switch it on."""
    if settings.web_password is None:
        app.add_url_rule(PREFIX, "rq_off", _switched_off)
        app.add_url_rule(f"{PREFIX}/<path:rest>", "rq_off", _switched_off)
        app.add_url_rule(f"{PREFIX}/", "rq_off", _switched_off)
        return
    _replace_names()
    _guard(app, door)
    app.extensions[_CONNECTION] = redis = open_redis(
        settings.redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
    )
    vars(app)["redis_conn"] = redis  # where rq-dashboard looks for it
    shown = re.sub(r"\?.*", "", redacted_url(settings.redis_url))
    app.config["RQ_DASHBOARD_REDIS_URL"] = (shown,)
    app.register_blueprint(rq_dashboard.blueprint, url_prefix=PREFIX)


def _switched_off(rest: str = "") -> Response:
    return Response(SWITCHED_OFF, 404, mimetype="text/plain")


def _replace_names() -> None:
    """Replace classes in its one module, where it looks them up; RQ itself stays as it is."""
    ours = {
        "Job": ShownJob,
        "Queue": ShownQueue,
        "Worker": ShownWorker,
        "requeue_job": _requeue,
        "from_url": _our_connection,
    }
    vars(rq_dashboard).update(ours)
    vars(rq_dashboard.config)["serializer"] = ShownJson


def _requeue(job_id: str, connection: Redis) -> Job:
    job: Job = ShownJob.fetch(job_id, connection=connection).requeue()
    return job


def _our_connection(url: str, **options: Any) -> tuple[None, Redis]:
    redis: Redis = current_app.extensions[_CONNECTION]
    return None, redis


def _exists(view_args: dict[str, Any]) -> bool:
    """False for instances and registries on which rq-dashboard fails instead of refusing."""
    registry = view_args.get("registry_name", "queued")
    return view_args.get("instance_number", 0) == 0 and registry in _REGISTRIES


def _guard(app: Flask, door: Door) -> None:
    """Guard everything under /rq, also what is not found there."""

    def check() -> Response | None:
        if not (request.path == PREFIX or request.path.startswith(f"{PREFIX}/")):
            return None
        if refused := door.refusal(admin_only=True):
            return refused
        _check_request(request)
        g.nonce = new_nonce()
        return None

    app.before_request(check)
    app.after_request(_mark_scripts)


def _check_request(asked: Request) -> None:
    """Refuse what must not happen, and what rq-dashboard would fail on instead of refusing."""
    if not _exists(asked.view_args or {}):
        abort(404, "There is no such page.")
    if asked.endpoint == "rq_dashboard.requeue_all" and asked.method != "POST":
        abort(405, "Ask with POST.")  # a link must not change anything


def _mark_scripts(response: Response) -> Response:
    if "nonce" in g and response.mimetype == "text/html" and not response.is_streamed:
        mark = f'<script type="text/javascript" nonce="{g.nonce}">'.encode()
        response.data = _INLINE_SCRIPT.sub(mark, response.data)
        response.headers["Content-Security-Policy"] = _POLICY.format(nonce=g.nonce)
    return response
