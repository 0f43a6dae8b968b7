"""Servers that answer and refuse: each trouble, how it ends, and the word that health must say."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from cli.commands.acl import USER
from db.queries import sql
from tests.chaos.clock import SettableValkey

STEP_S = 180
_BUSY = "local till = os.clock() + 30; while os.clock() < till do end"
_LOCKED = "SELECT 1 FROM trading.symbols WHERE symbol = ANY(%s) FOR UPDATE"
_REVOKE = """
    REVOKE UPDATE ON trading.symbols FROM assetq_worker;
    REVOKE INSERT, UPDATE ON market_data.ohlcv_5m FROM assetq_worker;
"""


@dataclass(frozen=True)
class Outside:
    """Another hand on the servers, with all rights."""

    valkey: SettableValkey
    database_url: str
    rows: tuple[str, ...]
    """Symbols whose rows get locked."""

    def redis(self) -> "Redis":
        return Redis(port=self.valkey.port, decode_responses=True)

    @contextmanager
    def memory(self) -> Iterator[None]:
        """Nothing may be written: maxmemory is far below what is in use."""
        with self._setting("maxmemory", "1mb"):
            yield

    @contextmanager
    def replicas(self) -> Iterator[None]:
        """Writes need a replica, and there is none."""
        with self._setting("min-replicas-to-write", "1"):
            yield

    @contextmanager
    def disk(self) -> Iterator[None]:
        """Saving fails: where the file should be is a directory."""
        (self.valkey.data_dir / "taken.rdb").mkdir(exist_ok=True)
        with (
            self._setting("dbfilename", "taken.rdb"),
            self._setting("save", "3600 1000000"),
            self.redis() as redis,
        ):
            with suppress(ResponseError):  # it saves already
                redis.bgsave()
            yield

    @contextmanager
    def script(self) -> Iterator[None]:
        """A script of somebody else runs and runs."""
        thread = threading.Thread(target=self._run_script, daemon=True)
        thread.start()
        yield
        with self.redis() as redis, suppress(ResponseError):  # it has ended by itself
            redis.script_kill()
        thread.join(60)

    def _run_script(self) -> None:
        with self.redis() as redis, suppress(RedisError):  # killed at the end
            redis.eval(_BUSY, 0)

    @contextmanager
    def redis_rights(self) -> Iterator[None]:
        """The Redis user may not run scripts any more."""
        with self.redis() as redis:
            redis.execute_command("ACL", "SETUSER", USER, "-evalsha")
            yield
            redis.execute_command("ACL", "SETUSER", USER, "+evalsha")

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """`rq suspend`, as a neighbour in the same Redis would do it."""
        with self.redis() as redis:
            redis.set("rq:suspended", 1)
            yield
            redis.delete("rq:suspended")

    @contextmanager
    def database_rights(self) -> Iterator[None]:
        """Prices and bars may not be written any more."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(_REVOKE)
            yield
            connection.execute(sql("grants"))

    @contextmanager
    def locked_rows(self) -> Iterator[None]:
        """A transaction that somebody forgot holds rows of trading.symbols."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute(_LOCKED, (list(self.rows),))
            yield
            with suppress(psycopg.OperationalError):  # a server that was killed holds no lock
                connection.rollback()

    @contextmanager
    def clock(self) -> Iterator[None]:
        """The clock of Redis is minutes ahead, then corrected; nothing where it cannot be set."""
        if self.valkey.settable:
            self.valkey.step(STEP_S)
        yield
        if self.valkey.settable:
            self.valkey.step(0)

    @contextmanager
    def _setting(self, name: str, value: str) -> Iterator[None]:
        with self.redis() as redis:
            before: Any = redis.config_get(name)
            redis.config_set(name, value)
            yield
            redis.config_set(name, before[name])


@dataclass(frozen=True)
class Trouble:
    """What goes wrong, and the words of which one must be among the reasons of health meanwhile;
    none where nobody can know."""

    lasting: Callable[[Outside], AbstractContextManager[None]]
    words: tuple[str, ...] = ()
    for_s: float = 5.5
    quiet_s: float | None = None
    """No process is touched from that long before it until its end: only one that works meets
    it."""


TROUBLES = {
    "redis memory": Trouble(Outside.memory, ("memory",)),
    "redis disk": Trouble(Outside.disk, ("disk",)),
    "redis replicas": Trouble(Outside.replicas, ("replicas",)),
    "redis busy": Trouble(Outside.script, ("script",)),
    "redis rights": Trouble(Outside.redis_rights, ("right", "acl")),
    "redis clock": Trouble(Outside.clock),
    "rq suspended": Trouble(Outside.suspended, ("suspended",)),
    "postgres rights": Trouble(Outside.database_rights, ("right", "permission", "grant")),
    "postgres locked rows": Trouble(
        Outside.locked_rows, ("lock", "holds its row"), for_s=10.0, quiet_s=12.0
    ),
}
