"""Configuration of `rq worker -c worker.rq_config`: where Redis is, and the one queue.

One queue per worker: RQ loses a job that is killed between pop and start when a worker listens to
several. Serializer and classes are options of the command line, not settings of this module; the
whole line stands in the Procfile.
"""

import worker.tasks  # noqa: F401 - imported before the fork, so that ticks start quickly
from queueing import Keys
from settings import Settings
from worker.rq_classes import TickWorker
from worker.ticks import RQ_QUEUE

_settings = Settings.load()
TickWorker.keys = Keys(_settings.provider)

REDIS_URL = _settings.redis_url
QUEUES = [RQ_QUEUE]
