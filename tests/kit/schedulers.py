"""A scheduler in the hands of a test: what its passes leave, on a clock that can be moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from queueing import Batch, Priority
from scheduler.process import TickScheduler
from settings import Settings
from tests.kit.worker import ShiftedContext, settings_for
from worker.ticks import BARS, Ticks

HOUR_MS = 3_600_000
NEW = Callable[..., "One"]


class One(TickScheduler):
    """A scheduler and what a test wants to see and do around it."""

    def __init__(self, context: ShiftedContext, ticks: Ticks) -> None:
        super().__init__(context, ticks)
        self.context, self.ticks = context, ticks

    def listed(self) -> list[str]:
        return [job_id.partition("-")[0] for job_id in self.ticks.queue.job_ids]

    def passed(self) -> list[str]:
        """What waits after one more pass."""
        self.run_once()
        return self.listed()

    def slots(self) -> list[tuple[str, str]]:
        """Kind and planned slot of the ticks that wait."""
        jobs = self.ticks.queue.jobs
        return [(str(j.func_name).rpartition(".")[2], j.args[0]) for j in jobs if j.args]

    def slots_of(self, kind: str) -> int:
        """The present slot of an entry."""
        return self._entries[f"every-{kind}"].slot(self.context.redis_now_ms())

    def work_off(self) -> None:
        """What a worker would leave: the present slots' records, an empty list."""
        now_ms = self.context.redis_now_ms()
        slot = now_ms // 300_000 * 300_000
        self.context.queue.enqueue(
            [],
            Priority.CRITICAL,
            batch=Batch(str(slot // 1000), slot, slot + 300_000, 300_000, 0, ()),
        )
        self.context.redis.set(
            self.context.keys.secondary, str(now_ms // 1_800_000 * 1800), px=86_400_000
        )
        if f"every-{BARS}" in self._entries:
            self.context.redis.set(self.context.keys.bars, self.slots_of(BARS), px=86_400_000)
        self.ticks.queue.empty()


@contextmanager
def schedulers(redis_url: str) -> Iterator[NEW]:
    """Makes schedulers on that Redis, and closes them at the end."""
    with ExitStack() as stack:

        def build(**more: Any) -> One:
            context = stack.enter_context(ShiftedContext.open(given(redis_url, **more)))
            ticks = Ticks(context.redis, context.keys)
            stack.callback(ticks.close)
            one = One(context, ticks)
            # In the middle of its slots, so that no boundary falls into a test.
            now_ms = context.redis_now_ms()
            context.shift(now_ms // 1_800_000 * 1_800_000 + 60_000 - now_ms)
            return one

        yield build


def given(redis_url: str, **more: Any) -> Settings:
    """Of a plan that counts calls: bars then have no tick of their own."""
    plan = {"polygon_rate_limit": 100_000, **more}
    return settings_for(redis_url, "postgresql://u@127.0.0.1:1/none", "http://127.0.0.1:1", **plan)
