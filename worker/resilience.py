"""A worker that waits for Redis instead of ending; RQ's own quits in most outages.

An outage is whatever `runtime.redis_outage` says that passes: absence, and every refusal but a
wrong login or a missing right.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import structlog
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.executions import Execution
from rq.job import Job
from rq.suspension import is_suspended
from rq.worker import WorkerStatus

from runtime.redis_client import away
from runtime.redis_outage import Outage, diagnose, outage, refusal_of_writes

log = structlog.get_logger(__name__)
T = TypeVar("T")

LONGEST_PAUSE_S = 5.0
GOODBYE_S = 1.0
"""How long Redis may take for each of the last commands of a process that ends."""
SUSPENDED_LOOK_S = 1.0
REFUSED = 3
"""Exit code where Redis refuses the login or a right: waiting would not mend it."""
RESUME = "RQ is suspended in this Redis (`rq suspend`): run `rq resume -u $REDIS_URL`."


class Patience:
    """The pauses between tries while Redis is away, and one log line per cause, not per try."""

    def __init__(self, during: str, first_s: float = 1.0) -> None:
        self._during = during
        self._first_s = first_s
        self._pause_s = first_s
        self._cause: str | None = None

    def failed(self, error: RedisError) -> float:
        """The pause before the next try, which doubles. Raises `error` if no waiting mends it."""
        cause = outage(error)
        if cause is None:
            raise error
        return self.paused(cause)

    def paused(self, cause: Outage) -> float:
        """The same for an outage that raised nothing."""
        if cause.kind != self._cause:
            log.warning("redis.away", during=self._during, detail=str(cause))
        self._cause = cause.kind
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause_s

    def succeeded(self) -> None:
        """Tells that Redis is back, if it was away."""
        if self._cause is not None:
            log.info("redis.back", during=self._during)
        self._cause, self._pause_s = None, self._first_s


def until_taken(what: str, command: Callable[[], T]) -> T:
    """Tries until Redis takes it; `what` names it in the log."""
    patience = Patience(what)
    while True:
        try:
            found = command()
            patience.succeeded()
            return found
        except RedisError as error:
            pause_s = patience.failed(error)
        time.sleep(pause_s)


class PatientWorker(Worker):
    """Survives every outage of Redis, and goes on by itself.

    RQ waits only where it pops a job. Elsewhere its registry is not worth a worker's life: what
    could not be written is left out, and the work-horse goes on with its tick.
    """

    max_connection_wait_time = LONGEST_PAUSE_S
    _refused = False

    @contextlib.contextmanager
    def without_redis_if_need_be(self, what: str | None) -> Iterator[None]:
        """What follows is left out if Redis is away; `what` names it in the log."""
        try:
            yield
        except RedisError as error:
            if not away(error):
                self._end_if_refused(error)
                raise
            if what:
                log.warning("redis.away", during=what, detail=str(error))

    def _end_if_refused(self, error: RedisError) -> None:
        """Ends this process in one line where no waiting mends what Redis refuses."""
        refused = diagnose(error)
        if refused is None or refused.kind.passes:
            return
        if not self._refused:
            log.error("redis.refused", detail=str(refused))
        self._refused = True
        raise SystemExit(REFUSED) from error

    def _set_ip_address(self, connection: Redis) -> None:
        self.ip_address = "unknown"
        with self.without_redis_if_need_be("birth"):
            super()._set_ip_address(connection)

    def register_birth(self) -> None:
        """RQ's, as soon as Redis takes it."""
        until_taken("birth", super().register_birth)

    def subscribe(self) -> None:
        """RQ's, as soon as Redis takes it."""
        until_taken("birth", self.listen_for_commands)

    def listen_for_commands(self) -> None:
        """RQ's, in a thread of its own. Raises RedisError."""
        super().subscribe()  # type: ignore[no-untyped-call]

    def check_for_suspension(self, burst: bool) -> None:
        """Waits while `rq suspend` holds all workers of this Redis; it is named, and heartbeats go
        on. With `burst` the worker ends instead, as RQ's does."""
        with self.without_redis_if_need_be("suspension"):
            if burst:
                super().check_for_suspension(burst)
                return
            before = self.get_state()
            while not self._stop_requested and is_suspended(self.connection, self):
                if self.get_state() != WorkerStatus.SUSPENDED:
                    log.warning("rq.suspended", remedy=RESUME)
                    self.set_state(WorkerStatus.SUSPENDED)
                self.heartbeat()
                time.sleep(SUSPENDED_LOOK_S)
            self.set_state(before)

    def run_maintenance_tasks(self) -> None:
        """RQ's, or none this time."""
        with self.without_redis_if_need_be("maintenance"):
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]

    def set_state(self, state: str, pipeline: "Pipeline | None" = None) -> None:
        """The state is kept here in any case; RQ's registry has it at the next change."""
        with self.without_redis_if_need_be("state"):
            super().set_state(state, pipeline)

    def set_shutdown_requested_date(self) -> None:
        """Not written: it would be from within a signal handler, and Redis may not answer."""

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Waits for a tick, and for Redis."""
        wait = super().dequeue_job_and_maintain_ttl
        try:
            return until_taken("wait", lambda: wait(timeout, max_idle_time))
        except RedisError as error:
            self._end_if_refused(error)
            raise

    def execute_job(self, job: Job, queue: Queue) -> None:
        """A tick that RQ cannot register has no content that could be lost."""
        with self.without_redis_if_need_be("tick"):
            super().execute_job(job, queue)

    def heartbeat(self, timeout: int | None = None, pipeline: "Pipeline | None" = None) -> None:
        """Left out where Redis is away, without a word: whatever comes next tells."""
        with self.without_redis_if_need_be(None):
            self.beat(timeout, pipeline)

    def beat(self, timeout: int | None, pipeline: "Pipeline | None") -> None:
        """What a heartbeat writes. Raises RedisError."""
        super().heartbeat(timeout, pipeline)

    def maintain_heartbeats(self, job: Job, execution: Any) -> None:
        """Never a reason to leave the work-horse alone."""
        with self.without_redis_if_need_be("heartbeat"):
            super().maintain_heartbeats(job, execution)

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """In the work-horse: without Redis its outcome cannot be told, and is not needed."""
        try:
            return bool(super().perform_job(job, queue, execution))
        except RedisError as error:
            if not away(error):
                raise
            log.warning("redis.away", during="registry", detail=str(error))
            return True

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """The tick is over, and RQ registers that: a frozen Redis gets a second per command."""
        if self.is_horse:
            hurry(self.connection)
        super().handle_execution_ended(job, queue, heartbeat_ttl)

    def handle_warm_shutdown_request(self) -> None:
        """Nor must it hold up the end of the process."""
        hurry(self.connection)
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """One line instead of a traceback where Redis is the cause."""
        if away(exc_info[1]):
            log.warning("redis.away", during="tick", detail=str(exc_info[1]))
            return
        super().handle_exception(job, *exc_info)

    def teardown(self) -> None:
        """The last words are short: a process that ends must not wait for a frozen Redis."""
        if self.is_horse:
            return
        hurry(self.connection)
        with self.without_redis_if_need_be("end"):
            self.register_death()  # type: ignore[no-untyped-call]
            self.unsubscribe()  # type: ignore[no-untyped-call]

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:
        """RQ's thread for commands: it keeps quiet and tries again; the main thread tells."""
        if diagnose(exc) is None:
            raise exc
        time.sleep(LONGEST_PAUSE_S)


def hurry(redis: Redis) -> None:
    """From now on each command on this client answers soon or fails."""
    pool = redis.connection_pool
    pool.connection_kwargs.update(socket_timeout=GOODBYE_S, socket_connect_timeout=GOODBYE_S)
    pool.disconnect(inuse_connections=False)
    pool.reset()  # connections that were made before keep their patience, also when they reconnect


def wait_for_redis(redis: Redis) -> None:
    """Returns when Redis takes changes and RQ is not suspended in it.

    A process that ended instead would be restarted in a storm, and `rq worker` itself ends where it
    finds RQ suspended. SIGTERM and SIGINT end the process with 0. Raises RedisError for a wrong
    login or a missing right.
    """

    def end(signum: int, frame: object) -> None:
        sys.exit(0)

    with _handling(end, signal.SIGTERM, signal.SIGINT):
        patience, told = Patience("start", first_s=0.5), False
        while True:
            try:
                refused = refusal_of_writes(redis)
                if refused and not refused.kind.passes:
                    raise RedisError(str(refused))
                if refused:
                    pause_s = patience.paused(refused)
                elif is_suspended(redis):
                    if not told:
                        log.warning("rq.suspended", remedy=RESUME)
                    told, pause_s = True, SUSPENDED_LOOK_S
                else:
                    patience.succeeded()
                    return
            except RedisError as error:
                pause_s = patience.failed(error)
            time.sleep(pause_s)


@contextlib.contextmanager
def _handling(handler: Callable[[int, object], None], *signals: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
