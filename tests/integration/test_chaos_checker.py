"""The judge of the chaos runs must see each loss: real stores, and one thing broken by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
import requests

from queueing import Bury, Death, Priority, Retry
from scheduler.process import TickScheduler
from tests.chaos.checker import net_recovery_ms
from tests.chaos.evidence import PREFIX, Evidence, Rules, gather, note_history
from tests.chaos.promises import CHECKS, judge
from tests.kit.worker import CRITICAL, OTHERS, Site, sandbox, settings_for
from worker.batch import begin


@dataclass
class Scene:
    """A sound end of a run: XAUUSD, EURUSD, BTCUSD and GBPUSD refreshed, USDJPY queued, ETHUSDT
    delayed, SOLUSD dead, one batch done, the schedule whole."""

    site: Site
    redis_url: str
    database_url: str
    sandbox_url: str
    requests: list[tuple[str, int, str]]
    slot: str

    @property
    def r(self) -> Any:
        return self.site.context.redis

    def evidence(self, **more: Any) -> Evidence:
        return gather(
            Rules(limit=5, window_s=4.0),
            {asset.symbol: asset.polygon_ticker for asset in (*CRITICAL, *OTHERS)},
            redis_url=self.redis_url,
            database_url=self.database_url,
            sandbox_url=self.sandbox_url,
            **{"requests": self.requests, **more},
        )

    def broken(self, **more: Any) -> set[str]:
        return {one.promise for one in judge(self.evidence(**more))}

    def sql(self, statement: str, *parameters: Any) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement.encode(), parameters)

    def event(self, symbol: str) -> dict[str, Any]:
        told = [json.loads(f["event"]) for _, f in self.r.xrange(f"{PREFIX}updates")]
        found: dict[str, Any] = next(e for e in reversed(told) if e["symbol"] == symbol)
        return found

    def tell(self, event: dict[str, Any]) -> None:
        fields = {"symbol": event["symbol"], "event": json.dumps(event)}
        self.r.xadd(f"{PREFIX}updates", fields)


@pytest.fixture
def scene(redis_url: str, migrated_url: str) -> Iterator[Scene]:
    note_history(migrated_url)
    with sandbox("starter") as provider:
        settings = settings_for(
            redis_url,
            migrated_url,
            provider.url,
            batch_interval_minutes=1,
            secondary_interval_minutes=2,
        )
        with Site.open(settings) as site:
            yield _play(site, redis_url, migrated_url, provider.url)


def _play(site: Site, redis_url: str, database_url: str, sandbox_url: str) -> Scene:
    queue = site.context.queue
    TickScheduler(site.context, site.ticks).restore_entries()
    slot = begin(site.context, site.connection, site.capabilities)
    while queue.size:  # the prices of the batch in one call, then bars
        site.refresher.refresh(site.claim())
    at_ms = site.context.redis_now_ms()
    for symbol in ("GBPUSD", "SOLUSD", "ETHUSDT"):
        site.ask(symbol)
        if symbol == "GBPUSD":
            site.refresher.refresh(site.claim())
            continue
        claimed = site.claim(max_items=1).claimed
        ends: dict[str, Bury | Retry] = {
            "SOLUSD": Bury("SOLUSD", Death.INVALID, "unknown to the provider"),
            "ETHUSDT": Retry("ETHUSDT", 60_000, Priority.LOW, "500"),
        }
        queue.end(claimed, [ends[symbol]], answered=True)
    site.ask("USDJPY")
    asked = [(asset.symbol, at_ms, "enqueued") for asset in OTHERS]
    return Scene(site, redis_url, database_url, sandbox_url, asked, slot)


def test_a_sound_end_breaks_nothing(scene: Scene) -> None:
    evidence = scene.evidence()
    assert judge(evidence) == []
    assert len(evidence.history) == 4
    assert len(evidence.arrivals) == len(evidence.calls) >= 2
    assert {len(evidence.redis[name]) for name in ("queue", "delayed", "dead")} == {1}


def test_evidence_can_be_kept_and_judged_again(scene: Scene, tmp_path: Any) -> None:
    path = tmp_path / "evidence.json"
    evidence = scene.evidence()
    evidence.save(path)
    assert judge(Evidence.load(path)) == []
    whole = Evidence.load(path)
    lost = replace(whole, redis={**whole.redis, "pending": []})
    assert {one.promise for one in judge(lost)} >= {"one state each"}


@pytest.mark.parametrize("market", ["forex", "crypto", "forex/tickers/C:GBPUSD", None])
def test_an_answer_about_a_market_is_one_about_its_tickers_alone(
    scene: Scene, market: str | None
) -> None:
    evidence = scene.evidence(disturbances=9)
    path = f"/v2/snapshot/locale/global/markets/{market}/tickers" if market else "/v3/snapshot"
    market_rows = [{**row, "path": path, "tickers": []} for row in evidence.arrivals]
    [broken] = judge(replace(evidence, arrivals=market_rows))
    assert broken.promise == "rows come from calls"
    assert ("GBPUSD" in str(broken)) == (market != "forex")
    assert ("BTCUSD" in str(broken)) == (market != "crypto")


def _forget_usdjpy(s: Scene) -> None:
    s.r.zrem(f"{PREFIX}queue", "USDJPY")
    s.r.srem(f"{PREFIX}pending", "USDJPY")
    s.r.hdel(f"{PREFIX}items", "USDJPY")


def _lease_forgotten(s: Scene) -> None:
    s.site.claim(max_items=1)
    s.r.zadd(f"{PREFIX}leases", {"USDJPY": s.site.context.redis_now_ms() - 6000}, xx=True)


def _other_score(s: Scene) -> None:
    s.r.zincrby(f"{PREFIX}queue", -5, "USDJPY")


def _old_event(s: Scene) -> None:
    event = s.event("GBPUSD")
    s.tell({**event, "timestamp": "2020-01-01T00:00:00Z", "observed_at_ms": 1577836800000})


def _older_row(s: Scene) -> None:
    s.sql(
        """UPDATE trading.symbols SET metadata =
           jsonb_set(metadata, '{last_update,timestamp}', '"2020-01-01T00:00:00+00:00"')
           WHERE symbol = 'GBPUSD'"""
    )


def _price_from_nowhere(s: Scene) -> None:
    s.sql(
        """UPDATE trading.symbols SET metadata =
           jsonb_set(metadata, '{last_update,observed_at_ms}', '99999999999999')
           WHERE symbol = 'GBPUSD'"""
    )


def _six_at_once(s: Scene) -> None:
    for _ in range(6):
        requests.get(f"{s.sandbox_url}/v1/marketstatus/now?apiKey=x", timeout=30)


def _later_entry(s: Scene) -> None:
    s.r.zincrby(f"{PREFIX}scheduler:entries", 600, "every-batch")


STATE, LOST, ITEMS = "one state each", "nothing accepted is lost", "items are whole"
DEAD, EVENTS, MATCH = (
    "the dead have a reason",
    "events are as if once, in order",
    "events match rows",
)
OLD, BATCH, SCHEDULE = (
    "old never replaces new",
    "batches are recorded",
    "the schedule is whole",
)
LEAK, ANSWERS, CALLS = "no key stays for ever", "answers are stored", "rows come from calls"
LEASE, QUOTA = "an expired lease is taken up", "never over quota"

Plant = Callable[[Scene], Any]
PLANTS: dict[str, tuple[Plant, set[str]]] = {
    "item deleted": (lambda s: s.r.hdel(f"{PREFIX}items", "USDJPY"), {STATE}),
    "pending member dropped": (
        lambda s: s.r.srem(f"{PREFIX}pending", "USDJPY"),
        {STATE, LOST},
    ),
    "dedup stuck": (lambda s: s.r.zrem(f"{PREFIX}queue", "USDJPY"), {STATE}),
    "in two places": (lambda s: s.r.zadd(f"{PREFIX}delayed", {"USDJPY": 1}), {STATE}),
    "request forgotten": (_forget_usdjpy, {LOST}),
    "dead letter dropped": (
        lambda s: s.r.delete(f"{PREFIX}dead", f"{PREFIX}dead:items"),
        {LOST},
    ),
    "item unreadable": (lambda s: s.r.hset(f"{PREFIX}items", "USDJPY", "{"), {ITEMS}),
    "score changed": (_other_score, {ITEMS}),
    "dead without a reason": (lambda s: s.r.hset(f"{PREFIX}dead:items", "SOLUSD", "{}"), {DEAD}),
    "half a dead letter": (lambda s: s.r.zrem(f"{PREFIX}dead", "SOLUSD"), {DEAD, LOST}),
    "event doubled": (lambda s: s.tell(s.event("GBPUSD")), {EVENTS}),
    "event out of order": (_old_event, {EVENTS, MATCH}),
    "event of another price": (
        lambda s: s.tell({**s.event("GBPUSD"), "last_price": 1, "observed_at_ms": 9 * 10**12}),
        {MATCH},
    ),
    "event lost": (lambda s: s.r.delete(f"{PREFIX}updates"), {MATCH}),
    "older row": (_older_row, {OLD, MATCH}),
    "price from nowhere": (_price_from_nowhere, {CALLS, MATCH}),
    "batch outcome lost": (
        lambda s: s.r.hdel(f"{PREFIX}batches:records", f"{s.slot}:outcome:XAUUSD"),
        {BATCH},
    ),
    "batch record lost": (lambda s: s.r.delete(f"{PREFIX}batches:records"), {BATCH}),
    "schedule entry lost": (
        lambda s: s.r.zrem(f"{PREFIX}scheduler:entries", "every-batch"),
        {SCHEDULE},
    ),
    "schedule job lost": (lambda s: s.r.delete("rq:job:every-secondary"), {SCHEDULE}),
    "slot left out": (_later_entry, {SCHEDULE}),
    "key without TTL": (lambda s: s.r.set(f"{PREFIX}stray", "1"), {LEAK}),
    "tick in no list": (lambda s: s.r.hset("rq:job:drain-1", "data", "x"), {LEAK}),
    "lease not taken up": (_lease_forgotten, {LEASE}),
    "audit row lost": (lambda s: s.sql("DELETE FROM data_sources.api_calls"), {ANSWERS}),
    "six arrivals in a window": (_six_at_once, {QUOTA, ANSWERS}),
}


@pytest.mark.parametrize("name", PLANTS)
def test_each_planted_loss_is_caught_by_name(scene: Scene, name: str) -> None:
    plant, expected = PLANTS[name]
    plant(scene)
    assert scene.broken() == expected


def test_a_slow_recovery_and_a_late_end_are_caught(scene: Scene) -> None:
    late = {"recoveries": [("USDJPY", 100_000, 106_000)]}
    assert scene.broken(**late) == {LEASE}
    assert scene.broken(**late, excused=[(100_500, 102_000, "redis")]) == set()
    assert scene.broken(late=["worker had not ended"]) == {"an orderly end takes 25 s at most"}


def test_excused_times_that_overlap_count_once(scene: Scene) -> None:
    evidence = scene.evidence(excused=[(10, 30, "a"), (20, 40, "b"), (90, 200, "c")])
    assert net_recovery_ms(evidence, 0, 100) == 10 + 50
    assert net_recovery_ms(evidence, 15, 35) == 0
    assert net_recovery_ms(evidence, 50, 60) == 10


def test_a_process_that_ends_by_itself_is_caught(scene: Scene) -> None:
    ended = [(100, "worker ended with 1")]
    assert scene.broken(ended=ended) == {"no process ends by itself"}
    later: Any = (200, 300, "redis rights", [])
    now: Any = (50, 150, "redis rights", [])
    assert scene.broken(ended=ended, troubles=[later]) == {"no process ends by itself"}
    assert scene.broken(ended=ended, troubles=[now]) == set(), "without the right it may"


def test_poison_without_deaths_is_caught(scene: Scene) -> None:
    letter = json.dumps({"kind": "poison", "reason": "three workers died refreshing it alone"})
    scene.r.hset(f"{PREFIX}dead:items", "SOLUSD", letter)
    assert scene.broken() == {"poison needs deaths"}
    assert scene.broken(deaths={"SOLUSD": 2}) == {"poison needs deaths"}
    assert scene.broken(deaths={"SOLUSD": 3}) == set()


def test_a_cause_that_health_does_not_name_in_time_is_caught(scene: Scene) -> None:
    trouble = (10_000, 20_000, "redis memory", ["memory"])
    named = [(15_000, ["A batch is late.", "Redis has no memory left."])]
    late = [(15_000, ["Redis does not answer."]), (25_000, ["Redis has no memory left."])]
    assert scene.broken(troubles=[trouble], health=named) == set()
    missed = {"health names the cause while it lasts"}
    assert scene.broken(troubles=[trouble], health=late) == missed
    assert scene.broken(troubles=[(10_000, 20_000, "redis clock", [])], health=late) == set()
    at_ms = int(scene.evidence().arrivals[0]["wall_s"] * 1000)
    for began_ms, expected in ((at_ms - 1_000, missed), (at_ms - 60_000, set())):
        locked = (began_ms, began_ms + 10_000, "postgres locked rows", ["lock"])
        assert scene.broken(troubles=[locked], health=late) == expected, "only calls meet it"


def test_every_check_has_a_planted_loss() -> None:
    planted = set().union(*(expected for _, expected in PLANTS.values()))
    assert set(CHECKS) - planted == {
        "an orderly end takes 25 s at most",
        "no process ends by itself",
        "poison needs deaths",
        "health names the cause while it lasts",
    }
