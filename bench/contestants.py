"""The queues that `bench.queues` compares. Each one runs in processes of its own:

    python -m bench.contestants NAME one|bulk|paced COUNT    prints the seconds that it took
    python -m bench.contestants NAME work                    works until it is killed

The server and the trace file come from BENCH_REDIS_URL and BENCH_TRACE. A job does nothing but
write when it was asked for and when it began (monotonic ns) into the trace.
"""

import functools
import json
import os
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from redis import Redis

RECORD = struct.Struct("QQ")
CHUNK = 1000
PACE_S = 0.04


def redis_url() -> str:
    """The server of this measurement."""
    return os.environ["BENCH_REDIS_URL"]


@functools.cache
def _trace() -> int:
    return os.open(os.environ["BENCH_TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def began(asked_ns: int | str) -> None:
    """The job itself: notes that it began."""
    os.write(_trace(), RECORD.pack(int(asked_ns), time.monotonic_ns()))


class Contestant(Protocol):
    """A queue that can be filled and worked on. `asked` are instants in monotonic ns."""

    def one(self, asked: int) -> None:
        """Enqueues one job."""

    def bulk(self, asked: list[int]) -> None:
        """Enqueues many, by the library's own means."""

    def work(self) -> None:
        """Works for ever."""


def names() -> Iterable[str]:
    """Names that no job had before in this process."""
    number = 0
    while True:
        number += 1
        yield f"ASSET{os.getpid() % 1000:03d}{number:07d}"


class LuaFloor:
    """The least that the task needs: dedup, order, payload and lease, one script a step. It has
    no quota, no retries and no wake-up, and a lost lease stays lost."""

    PUT = """
    local added = 0
    for i = 1, #ARGV, 3 do
      if redis.call('SADD', KEYS[2], ARGV[i]) == 1 then
        redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
        redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 2])
        added = added + 1
      end
    end
    if added > 0 then redis.call('LPUSH', KEYS[5], 1) redis.call('LTRIM', KEYS[5], 0, 7) end
    return added"""
    TAKE = """
    local head = redis.call('ZPOPMIN', KEYS[1])
    if not head[1] then return false end
    redis.call('ZADD', KEYS[4], redis.call('TIME')[1] + 30, head[1])
    return { head[1], redis.call('HGET', KEYS[3], head[1]) }"""
    END = """
    redis.call('ZREM', KEYS[4], ARGV[1])
    redis.call('SREM', KEYS[2], ARGV[1])
    return redis.call('HDEL', KEYS[3], ARGV[1])"""
    KEYS = ("queue", "pending", "items", "leases", "wake")

    def __init__(self) -> None:
        self.redis = Redis.from_url(redis_url())
        self.put, self.take, self.end = (
            self.redis.script_load(text) for text in (self.PUT, self.TAKE, self.END)
        )
        self.names = iter(names())

    def _call(self, sha: str, *args: Any) -> Any:
        return self.redis.evalsha(sha, len(self.KEYS), *self.KEYS, *args)

    def _args(self, asked: int) -> tuple[Any, ...]:
        return next(self.names), 3e13 + time.time_ns() // 1_000_000, json.dumps({"asked": asked})

    def one(self, asked: int) -> None:
        """Put one item."""
        self._call(self.put, *self._args(asked))

    def bulk(self, asked: list[int]) -> None:
        """Put items, 250 a command."""
        for start in range(0, len(asked), 250):
            part = asked[start : start + 250]
            self._call(self.put, *(arg for at in part for arg in self._args(at)))

    def work(self) -> None:
        """Take and end items, for ever."""
        while True:
            if got := self._call(self.take):
                began(json.loads(got[1])["asked"])
                self._call(self.end, got[0])
            else:
                self.redis.blpop(["wake"], 1)


class Assetq:
    """Ours, without a limit: one drain for each worker, which claims, ends and waits."""

    def __init__(self) -> None:
        from queueing import Policy, PriorityQueue

        self.queue = PriorityQueue(
            Redis.from_url(redis_url()), Policy(limit=None), max_size=10_000_000
        )
        self.names = iter(names())

    def one(self, asked: int) -> None:
        """Ask for one item."""
        self.bulk([asked])

    def bulk(self, asked: list[int]) -> None:
        """Ask for all in one command."""
        from queueing import Request

        self.queue.enqueue([Request(next(self.names), {"asked": at}) for at in asked])

    def work(self) -> None:
        """Claim and end items, for ever, as a drain does."""
        from queueing import Claimed, Done, GiveBack, Request

        drain, keeper = f"bench-{os.getpid()}", "KEEPS-ONE-DRAIN-WAITING"
        self.queue.enqueue([Request(keeper, {"asked": 0})])
        while True:
            answer = self.queue.claim(who=drain, drain=drain)
            while isinstance(answer, Claimed):
                (item,) = answer.items
                if item.symbol == keeper:
                    verdict: Done | GiveBack = GiveBack(keeper, delay_ms=3_600_000)
                else:
                    began(item.payload["asked"])
                    verdict = Done(item.symbol)
                answer = self.queue.end_and_claim(
                    answer, [verdict], answered=True, who=drain, drain=drain
                )
            if answer.hint.waiter:
                self.queue.wait(60)
            elif answer.hint.wait_ms:
                time.sleep(0.25)  # another one waits: in production this drain would leave


class RqFork:
    """RQ as it is started by default: a process for each job."""

    worker_class = "rq.Worker"

    def __init__(self) -> None:
        from rq import Queue

        self.queue = Queue("bench", connection=Redis.from_url(redis_url()), serializer="json")

    def one(self, asked: int) -> None:
        """Enqueue one job."""
        self.queue.enqueue("bench.contestants.began", asked)

    def bulk(self, asked: list[int]) -> None:
        """Enqueue jobs."""
        prepare = self.queue.prepare_data
        self.queue.enqueue_many([prepare("bench.contestants.began", (at,)) for at in asked])

    def work(self) -> None:
        """Run a worker that forks for each job."""
        command = ["rq", "worker", "-q", "-S", "json", "-u", redis_url(), "-w", self.worker_class]
        os.execv(Path(sys.executable).parent / "rq", [*command, "bench"])


class RqSimple(RqFork):
    """RQ without a process for each job."""

    worker_class = "rq.SimpleWorker"


class Huey:
    """huey, with its queue in a sorted set. No lease, no dedup."""

    def __init__(self) -> None:
        self.app, self.task = huey_parts()

    def one(self, asked: int) -> None:
        """Enqueue one task."""
        self.app.enqueue(self.task.s(asked, priority=asked % 3))

    def bulk(self, asked: list[int]) -> None:
        """Enqueue tasks one by one."""
        for at in asked:
            self.one(at)

    def work(self) -> None:
        """Run a consumer."""
        command = ["huey_consumer", "bench.contestants.huey_app", "-w", "1", "-k", "thread", "-q"]
        os.execv(Path(sys.executable).parent / command[0], [*command, "-n"])


@functools.cache
def huey_parts() -> Any:
    """The application and its task."""
    import huey

    app = huey.PriorityRedisHuey("bench", url=redis_url(), results=False)
    return app, app.task(name="began")(began)


def __getattr__(name: str) -> Any:
    if name == "huey_app":  # as its consumer asks for it
        return huey_parts()[0]
    raise AttributeError(name)


BY_NAME: dict[str, type[Contestant]] = {
    "assetq": Assetq,
    "Lua floor": LuaFloor,
    "huey": Huey,
    "rq SimpleWorker": RqSimple,
    "rq worker": RqFork,
}


def produce(queue: Contestant, mode: str, count: int) -> float:
    """Enqueues that many, and returns the seconds that it took."""
    queue.one(0)  # connects, and loads what must be loaded
    start = time.perf_counter()
    if mode == "bulk":
        for at in range(0, count, CHUNK):
            queue.bulk([time.monotonic_ns()] * min(CHUNK, count - at))
    else:
        for _ in range(count):
            queue.one(time.monotonic_ns())
            if mode == "paced":
                time.sleep(PACE_S)
    return time.perf_counter() - start


if __name__ == "__main__":
    from bench import contestants  # under the name by which jobs and consumers import it

    who, what, *rest = sys.argv[1:]
    queue = contestants.BY_NAME[who]()
    if what == "work":
        queue.work()
    else:
        print(produce(queue, what, int(rest[0])))
