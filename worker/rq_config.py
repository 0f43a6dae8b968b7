"""Configuration of `rq worker -c worker.rq_config`: where Redis is, and the one queue.

One queue per worker: RQ loses a job that is killed between pop and start when a worker listens to
several. Serializer and classes are options of the command line, not settings of this module; the
whole line stands in the Procfile.
"""

import sys

import rq.cli.workers
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

import worker.tasks  # noqa: F401 - imported before the fork, so that ticks start quickly
from queueing import Keys
from runtime.context import Context
from runtime.logs import configure
from runtime.masking import complaint
from runtime.redis_client import open_redis, sentinel_options
from runtime.redis_outage import diagnose
from runtime.rq_environment import given
from settings import Settings, SettingsError
from settings.redis_url import SentinelUrl
from worker.provider_facts import lift_block_of_another_key
from worker.resilience import REFUSED, until_taken, wait_for_redis
from worker.rq_classes import TickWorker
from worker.ticks import rq_queue


def _never_asked(connection: Redis, worker: object = None) -> bool:
    return False


if _names := given():
    print(
        f"assetq: {', '.join(_names)} would redirect this worker: unset it, or start the worker "
        "with `assetq worker`, which ignores it.",
        file=sys.stderr,
    )
    sys.exit(3)
try:
    _settings = Settings.load()
    _settings.required_api_key()
except SettingsError as error:
    print(complaint(error), file=sys.stderr)
    sys.exit(3)
configure(_settings)
TickWorker.keys = Keys(_settings.provider)

QUEUES = [rq_queue(TickWorker.keys)]
if _sentinel := SentinelUrl.parse(_settings.redis_url):
    SENTINEL = {
        "INSTANCES": list(_sentinel.hosts),
        "MASTER_NAME": _sentinel.service,
        "DB": _sentinel.db,
        "USERNAME": _sentinel.user,
        "PASSWORD": _sentinel.password,
        "SENTINEL_KWARGS": sentinel_options(_sentinel),
        "CONNECTION_KWARGS": {
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": 5.0,
            **_sentinel.tls,
        },
    }
else:
    REDIS_URL = _settings.redis_url

# RQ's command asks once whether RQ is suspended, and ends if it is, or if there is no answer; the
# worker waits for both, here and at every turn.
rq.cli.workers.is_suspended = _never_asked  # type: ignore[attr-defined]
with open_redis(_settings.redis_url, socket_timeout=5.0, socket_connect_timeout=5.0) as _redis:
    try:
        wait_for_redis(_redis)
        until_taken("start", lambda: lift_block_of_another_key(Context.on(_redis, _settings)))
    except RedisError as error:
        print(f"assetq: {diagnose(error) or error}", file=sys.stderr)
        sys.exit(REFUSED)
