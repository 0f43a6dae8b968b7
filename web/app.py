"""The web process: the pages, health, metrics, and RQ's dashboard.

`gunicorn --config web/gunicorn_config.py web.app:application` serves it (see the Procfile).
"""

import sys
import traceback
from typing import Any

import structlog
from flask import Flask, Response, current_app, jsonify, request
from flask.json.provider import DefaultJSONProvider
from redis import RedisError
from rq.exceptions import NoSuchJobError
from werkzeug.exceptions import HTTPException

from health.causes import Level
from health.observe import Observer
from health.report import failed, report
from runtime.logs import configure
from runtime.masking import complaint
from runtime.redis_outage import diagnose
from settings import Settings, SettingsError
from web import dashboard, pages
from web.board import Board
from web.database import Away
from web.exposition import exposition
from web.security import set_headers
from web.site import Site, equip

log = structlog.get_logger(__name__)

HEALTH = "/health/batch"
_OBSERVER = "assetq"


def create_app(settings: Settings) -> Flask:
    """Make the application; it opens its connections when the first request needs them."""
    app = Flask("web")
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.sort_keys = False  # the order that people read in
    observer = app.extensions[_OBSERVER] = Observer(settings)
    shared = app.extensions["assetq-site"] = Site.of(settings, observer)
    equip(app)
    shared.files.mount(app)
    pages.mount(app)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule(HEALTH, view_func=health)
    app.add_url_rule("/metrics", view_func=metrics)
    dashboard.mount(app, settings, shared.door)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(NoSuchJobError, _no_such_job)
    app.register_error_handler(RedisError, _redis_away)
    app.register_error_handler(Exception, _defect)
    app.after_request(set_headers)
    return app


def healthz() -> Response:
    """GET /healthz: this process answers; nothing else is examined."""
    return jsonify(status="alive")


def health() -> Response:
    """GET /health/batch: 503 when unhealthy, else 200; JSON always."""
    level, _, body = report(_observer())
    response = jsonify(body)
    response.status_code = 503 if level is Level.UNHEALTHY else 200
    return response


def metrics() -> Response:
    """GET /metrics: for Prometheus."""
    observer = _observer()
    level, facts, _ = report(observer)
    board: Board = current_app.extensions["assetq-site"].board
    try:
        rows = board.view_now(facts).rows
    except Away:
        rows = []  # the causes tell why
    text, content_type = exposition(facts, level, request.headers.get("Accept", ""), rows)
    return Response(text, content_type=content_type)


def _observer() -> Observer:
    observer: Observer = current_app.extensions[_OBSERVER]
    return observer


def _refused(error: HTTPException) -> Response:
    return _sentence(error.description or error.name, error.code or 500)


def _no_such_job(error: NoSuchJobError) -> Response:
    return _sentence("There is no such job: it was finished or deleted.", 404)


def _redis_away(error: RedisError) -> Response:
    if (found := diagnose(error)) is None:
        return _defect(error)
    log.error("web.redis", path=request.path, cause=found.cause)
    return _sentence(str(found), 503)


def _defect(error: Exception) -> Response:
    """Log an unforeseen error; the answer tells only that there was one."""
    trace = "".join(traceback.format_exception(error))[-4000:]
    log.error("web.defect", path=request.path, error=type(error).__name__, trace=trace)
    if request.path == HEALTH:
        response = jsonify(failed(error, _observer().settings))
        response.status_code = 503
        return response
    return _sentence("Something went wrong here; the log of the web process tells more.", 500)


def _sentence(text: str, code: int) -> Response:
    return Response(f"{text}\n", code, mimetype="text/plain")


def __getattr__(name: str) -> Any:
    """`application` is made when a server asks for it, so that tests may import this module."""
    if name != "application":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        settings = Settings.load()
    except SettingsError as error:
        print(complaint(error), file=sys.stderr)
        sys.exit(3)
    configure(settings)
    return create_app(settings)
