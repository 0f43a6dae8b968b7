"""The classes that `rq worker` is started with (see the worker line of the Procfile)."""

import signal
from types import FrameType
from typing import Any

from redis.client import Pipeline
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer

from queueing import Keys
from worker import alive
from worker.stopping import STOP


class TickJob(Job):
    """A job that is JSON unless told otherwise (rq-scheduler cannot be told), and is one of ours.

    A failed one is forgotten after a day; RQ would keep it for a year.
    """

    FAILURE_TTL_S = 24 * 3600

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None):
        super().__init__(id=id, connection=connection, serializer=serializer or JSONSerializer)
        self.failure_ttl = self.FAILURE_TTL_S


class TickWorker(Worker):
    """Ends gently: a signal only asks the running tick to finish its call: seconds.

    Heroku sends SIGTERM to every process of a dyno at once; the work-horse leaves it to its parent.
    """

    keys = Keys()

    @property
    def dequeue_timeout(self) -> int:
        """Short, so that an idle worker says often that it lives."""
        return 10

    def heartbeat(self, timeout: int | None = None, pipeline: "Pipeline | None" = None) -> None:
        """Tells RQ and our own books; enters RQ's books again after a flush."""
        super().heartbeat(timeout, pipeline)
        if pipeline is None and not self.is_horse:
            if not self.connection.hexists(self.key, "birth"):
                self.connection.delete(self.key)
                self.register_birth()
            alive.beat(self.connection, self.keys, self._alive_name)

    def maintain_heartbeats(self, job: Job, execution: Any) -> None:
        """The same while a tick runs."""
        super().maintain_heartbeats(job, execution)
        alive.beat(self.connection, self.keys, self._alive_name)

    def register_death(self) -> None:
        """Leaves both books."""
        super().register_death()
        alive.gone(self.connection, self.keys, self._alive_name)

    @property
    def _alive_name(self) -> str:
        return f"worker@{(self.hostname or 'unknown').split('.')[0]}-{self.pid}"

    def handle_warm_shutdown_request(self) -> None:
        """Asks the work-horse, if there is one, to come to an end."""
        super().handle_warm_shutdown_request()
        if self.horse_pid:
            self.kill_horse(sig=signal.SIGUSR1)

    def setup_work_horse_signals(self) -> None:
        """In the work-horse: only the parent's word counts."""
        STOP.clear()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self._stop_horse)

    def _stop_horse(self, signum: int, frame: FrameType | None) -> None:
        STOP.set()

    def perform_job(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> bool:
        """Runs a tick of ours and nothing else: who can write to Redis must not run code."""
        if job.func_name not in TICK_FUNCTIONS:
            raise ForeignJob(job.func_name)
        return bool(super().perform_job(job, queue, *args, **kwargs))


class ForeignJob(RuntimeError):
    """The job names a function that is not a tick of assetq."""

    def __init__(self, func_name: str | None) -> None:
        super().__init__(f"refused to run {func_name!r}: {self.__doc__}")


TICK_FUNCTIONS = frozenset({"worker.tasks.batch", "worker.tasks.secondary", "worker.tasks.drain"})
