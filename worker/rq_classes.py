"""The classes that `rq worker` is started with (see the worker line of the Procfile)."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import structlog
from redis.client import Pipeline
from rq import Queue, Worker
from rq.exceptions import DeserializationError, NoSuchJobError, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from queueing import Keys
from runtime import heartbeat
from runtime.stopping import STOP
from worker.resilience import PatientWorker

log = structlog.get_logger(__name__)

KEEP_FAILED = 50
"""How many failed ticks are kept for their tracebacks, some 5 KB each."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class TickJob(Job):
    """A job that is JSON unless told otherwise (rq-scheduler cannot be told), and is one of ours.

    A failed one is forgotten after a day; RQ would keep it for a year.
    """

    FAILURE_TTL_S = 24 * 3600

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None):
        super().__init__(id=id, connection=connection, serializer=serializer or JSONSerializer)

    def restore(self, raw_data: Any) -> None:
        """Reads a job without what a tick never has: names of functions to call and URLs to tell
        when it ends, which any writer to Redis may have put there.

        Raises NoSuchJobError for one that cannot be read. RQ drops it then; any other error would
        end each worker that meets it, and each one that is started again.
        """
        try:
            super().restore(raw_data)
        except Exception as error:  # whatever strange data may cause
            log.warning("tick.unreadable", job=self.id, why=f"{type(error).__name__}: {error}")
            raise NoSuchJobError(f"job {self.id} cannot be read") from error
        self.failure_ttl = self.FAILURE_TTL_S  # RQ's default is a year
        self._success_callback_name = None
        self._failure_callback_name = None
        self._stopped_callback_name = None
        self.webhooks = []


class TickWorker(PatientWorker):
    """Ends gently: a signal only asks the running tick to finish its call: seconds.

    Heroku sends SIGTERM to every process of a dyno at once; the work-horse leaves it to its parent.
    """

    keys = Keys()

    @property
    def dequeue_timeout(self) -> int:
        """Short, so that an idle worker says often that it lives, and looks if it should end."""
        return 5

    def beat(self, timeout: int | None, pipeline: "Pipeline | None") -> None:
        """Tells RQ's registry and our own; enters RQ's again after a flush."""
        super().beat(timeout, pipeline)
        if pipeline is None and not self.is_horse:
            if self._stop_requested and self.get_state() != WorkerStatus.BUSY:
                raise StopRequested
            if not self.connection.hexists(self.key, "birth"):
                self.connection.delete(self.key)
                Worker.register_birth(self)
            heartbeat.beat(self.connection, self.keys, self._alive_name)

    def maintain_heartbeats(self, job: Job, execution: Any) -> None:
        """The same while a tick runs."""
        super().maintain_heartbeats(job, execution)
        with self.without_redis_if_need_be("heartbeat"):
            heartbeat.beat(self.connection, self.keys, self._alive_name)

    def register_death(self) -> None:
        """Leaves both registries."""
        super().register_death()
        heartbeat.gone(self.connection, self.keys, self._alive_name)

    @property
    def _alive_name(self) -> str:
        return heartbeat.own_name("worker", self.pid)

    def listen_for_commands(self) -> None:
        """RQ's, in a thread that takes no signal.

        One that came while the main thread holds signals back would go to that thread, and the main
        thread would wait for its work-horse on, up to half a minute, before it looked.
        """
        with _held_back():
            super().listen_for_commands()

    def handle_warm_shutdown_request(self) -> None:
        """Asks the work-horse, if there is one, to come to an end.

        RQ raises its StopRequested out of the signal handler, and logging swallows it if the
        signal strikes while a line is written: so the request is also kept, and looked at.
        """
        self._stop_requested = True
        super().handle_warm_shutdown_request()
        self._stop_working()

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """No signal falls between the fork and the moment when both sides know what to do with it.

        A SIGUSR1 that came too early would kill the work-horse, a SIGTERM before its pid is known
        would leave it at work for its whole slice.
        """
        with _held_back():
            super().fork_work_horse(job, queue)  # returns in the parent only
        if self._stop_requested:  # asked between the pop and the fork
            self._stop_working()

    def _stop_working(self) -> None:
        """To the work-horse alone: at first it is still in its parent's process group."""
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.horse_pid, signal.SIGUSR1)

    def setup_work_horse_signals(self) -> None:
        """In the work-horse: only the parent's word counts."""
        STOP.clear()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self._stop_horse)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _stop_horse(self, signum: int, frame: FrameType | None) -> None:
        STOP.set()

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Runs a tick of ours and nothing else: a writer to Redis must not run code."""
        try:
            check_ours(job)
        except ForeignJob as error:
            log.warning("tick.refused", job=job.id, why=str(error))
            self.connection.lrem(queue.intermediate_queue_key, 1, job.id)
            self.handle_job_failure(job, queue, exc_string=str(error), execution=execution)
            return False
        return bool(super().perform_job(job, queue, execution))

    def handle_job_failure(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> None:
        """Keeps the newest failed ticks: one that fails every minute must not fill Redis."""
        super().handle_job_failure(job, queue, *args, **kwargs)
        failed = queue.failed_job_registry
        for job_id in failed.get_job_ids(0, -KEEP_FAILED - 1):
            failed.remove(job_id)
            with contextlib.suppress(NoSuchJobError):
                self.job_class.fetch(job_id, self.connection, self.serializer).delete()


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Signals wait until what follows is done; threads that it starts never take one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


class ForeignJob(RuntimeError):
    """Not a tick of assetq."""

    def __init__(self, what: str) -> None:
        super().__init__(f"refused: {what}: {self.__doc__}")


TICK_FUNCTIONS = frozenset(
    f"worker.tasks.{kind}" for kind in ("batch", "secondary", "bars", "drain")
)


def check_ours(job: Job) -> None:
    """Raises ForeignJob for a job that would run anything but a tick."""
    try:
        func_name = job.func_name
    except DeserializationError as error:
        raise ForeignJob("its data is not JSON") from error
    if func_name not in TICK_FUNCTIONS:
        raise ForeignJob(f"it names the function {func_name!r}")
