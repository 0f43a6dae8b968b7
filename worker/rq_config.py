"""Configuration of `rq worker -c worker.rq_config`: where Redis is, and the one queue.

One queue per worker: RQ loses a job that is killed between pop and start when a worker listens to
several. Serializer and classes are options of the command line, not settings of this module; the
whole line stands in the Procfile.
"""

import sys

import worker.tasks  # noqa: F401 - imported before the fork, so that ticks start quickly
from queueing import Keys
from settings import Settings, SettingsError
from worker.logs import configure
from worker.rq_classes import TickWorker
from worker.ticks import RQ_QUEUE

try:
    _settings = Settings.load()
    _settings.required_api_key()
except SettingsError as error:
    print(f"assetq: {error}", file=sys.stderr)
    sys.exit(3)
configure(_settings)
TickWorker.keys = Keys(_settings.provider)

REDIS_URL = _settings.redis_url
QUEUES = [RQ_QUEUE]
