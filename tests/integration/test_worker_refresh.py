"""One granted call against real servers: everything that can become of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from rq.timeouts import JobTimeoutException

from db.calls import insert_call
from db.errors import DatabaseError
from db.symbols import Asset, SymbolRepository
from local.sandbox import SandboxServer
from market.aggregates import Aggregates
from market.errors import NotYetPublished
from market.freshness import newest_allowed_day
from market.quotes import Answer
from market.tickers import AssetKind
from market.transport import SendDeadline
from queueing import Death, Outcome, Priority
from runtime.context import fingerprint
from runtime.stopping import StopFlag
from tests.kit import worker as worker_kit
from tests.kit.worker import CRITICAL, KEY, OTHERS, Site, settings_for
from worker.capabilities import Capabilities
from worker.provider_facts import UNAUTHORIZED_BLOCK_MS
from worker.retry_policy import PUBLISHED_LATER_MS
from worker.work import bars_request, price_request

OPEN = Callable[..., Site]
NOPE = Asset("NOPEUSD", "X:NOPEUSD", "crypto")
TWIN = Asset("ETHTWIN", "X:ETHUSDT", "crypto")
ASSETS = (*CRITICAL, *OTHERS, NOPE, TWIN)


@pytest.fixture
def opened(redis_url: str, migrated_url: str) -> Iterator[OPEN]:
    """A site on a sandbox of the given plan; `sandbox` may be given, and settings."""
    with ExitStack() as stack:

        def open_(
            plan: str = "spec", *, provider: SandboxServer | None = None, **more: Any
        ) -> Site:
            at = provider or stack.enter_context(worker_kit.sandbox(plan))
            settings = settings_for(redis_url, migrated_url, at.url, **more)
            return stack.enter_context(Site.open(settings, ASSETS))

        yield open_


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter") as server:
        yield server


def test_a_series_ends_where_its_asset_was_paused(opened: OPEN) -> None:
    site = opened("starter", history_days=60)
    site.context.queue.enqueue([bars_request(site.asset(s)) for s in ("BTCUSD", "ETHUSDT")])
    first, second = site.claim(1), site.claim(1)
    SymbolRepository(site.connection).set_active(["ETHUSDT"], active=False)
    for call in (first, second):
        site.refresher.refresh(call)
    assert site.where("BTCUSD/5m") == "queue", "it has days left"
    assert site.where("ETHUSDT/5m") == "nowhere"


def test_success_is_a_row_an_audit_and_an_event(opened: OPEN, r: redis.Redis) -> None:
    site = opened("starter")
    with r.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("asset:update:EURUSD")
        site.refresh("EURUSD", at=Priority.CRITICAL)
        message = next(m for _ in range(100) if (m := listener.get_message(timeout=0.1)))
    event = json.loads(message["data"])
    stored = site.one("SELECT metadata->'last_update' FROM trading.symbols WHERE symbol='EURUSD'")
    assert set(event) >= {"symbol", "bid", "ask", "last_price", "timestamp"}
    assert event["symbol"] == "EURUSD"
    assert event["last_price"] == pytest.approx(stored["last_price"])
    assert event["source"] == stored["source"] == "snapshot_v3"
    assert event["observed_at_ms"] == stored["observed_at_ms"]
    assert event["waited_ms"] >= 0
    assert isinstance(event["bid"], float)
    assert site.events() == ["EURUSD"]
    assert site.status("EURUSD") == ("success", None)
    assert site.outcomes() == ["ok"]
    assert site.where("EURUSD") == "nowhere"


def test_one_call_for_all(opened: OPEN, provider: SandboxServer) -> None:
    site = opened(provider=provider)
    symbols = [a.symbol for a in (*CRITICAL, *OTHERS)]
    site.refresh(*symbols)
    assert len(provider.arrivals()) == 1
    assert sorted(site.events()) == sorted(symbols)


@pytest.mark.parametrize("item", ["NOPEUSD", "NOPEUSD/5m"])
def test_an_unknown_ticker_that_is_asked_for_alone_rests_for_a_day(opened: OPEN, item: str) -> None:
    site = opened("starter", retry_max_attempts=0)
    site.capabilities.refuse("snapshot_v3", "one asset per call, please")
    request = bars_request if item.endswith("/5m") else price_request
    site.context.queue.enqueue([request(site.asset("NOPEUSD"))], Priority.HIGH)
    site.refresher.refresh(site.claim())
    assert site.outcomes() == ["NotFound"]
    assert site.one("SELECT status FROM data_sources.api_calls") == 404
    [letter] = site.context.queue.dead()
    assert (letter.symbol, letter.kind) == (item, Death.INVALID)
    again = site.context.queue.enqueue([request(site.asset("NOPEUSD"))], Priority.HIGH)
    assert [outcome for _, outcome, _ in again.results] == [Outcome.DEAD]


def test_two_assets_with_one_ticker_are_both_refreshed(opened: OPEN) -> None:
    site = opened("starter")
    site.refresh("ETHUSDT", "ETHTWIN")
    assert sorted(site.events()) == ["ETHTWIN", "ETHUSDT"]
    assert site.where("ETHUSDT") == site.where("ETHTWIN") == "nowhere"


def test_one_unknown_ticker_among_many_is_buried_alone(opened: OPEN) -> None:
    site = opened("starter")
    site.refresh("EURUSD", "NOPEUSD", "BTCUSD")
    assert sorted(site.events()) == ["BTCUSD", "EURUSD"]
    [letter] = site.context.queue.dead()
    assert (letter.symbol, letter.kind) == ("NOPEUSD", Death.INVALID)
    assert site.status("NOPEUSD")[0] == "error"  # type: ignore[index]
    assert site.status("EURUSD") == ("success", None)


def test_a_symbol_that_the_table_lost_is_buried_and_the_others_are_stored(opened: OPEN) -> None:
    site = opened("starter")
    site.ask("EURUSD", "BTCUSD")
    site.connection.execute("DELETE FROM trading.symbols WHERE symbol = 'EURUSD'")
    site.refresher.refresh(site.claim())
    assert site.events() == ["BTCUSD"]
    [letter] = site.context.queue.dead()
    assert (letter.symbol, letter.kind) == ("EURUSD", Death.INVALID)
    assert "trading.symbols" in letter.reason


def test_what_is_stored_already_is_no_news(opened: OPEN) -> None:
    site = opened("free", polygon_tier="free")
    site.context.limiter.reset()
    site.context.redis.delete(
        site.context.keys.capabilities(fingerprint(site.context.settings.api_key))
    )
    for feed in ("snapshot_v3", "snapshot"):
        site.capabilities.refuse(feed, "not in this plan")
    site.refresh("BTCUSD")
    site.connection.execute(
        """UPDATE trading.symbols SET metadata = jsonb_build_object('last_update',
               metadata -> 'last_update' || jsonb_build_object('as_of', later, 'timestamp', later))
           FROM to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS".000000+00:00"') AS later
           WHERE symbol = 'BTCUSD'"""
    )
    site.refresh("BTCUSD")
    assert site.events() == ["BTCUSD"]
    assert site.where("BTCUSD") == "nowhere"


@pytest.mark.parametrize("tier", ["free", "starter"])
def test_bars_are_an_item_of_their_own(opened: OPEN, tier: str) -> None:
    site = opened("starter", polygon_tier=tier)  # a key may be able to do more than its tier says
    site.context.limiter.reset()
    site.context.queue.enqueue([bars_request(site.asset("BTCUSD"))], Priority.HIGH)
    site.ask("ETHUSDT", at=Priority.HIGH)
    call = site.claim()
    assert [item.symbol for item in call.claimed.items] == ["BTCUSD/5m"]
    assert call.feed.name == "aggregates"
    site.refresher.refresh(call)
    count = site.one("SELECT count(*) FROM market_data.ohlcv_5m")
    assert count > 200
    assert site.where("BTCUSD/5m") == "nowhere"
    assert site.events() == [], "the price has an item of its own"
    assert site.asset("BTCUSD").last_price is None


# --- refusals


def test_429_blocks_everybody_and_costs_no_attempt(opened: OPEN, provider: SandboxServer) -> None:
    provider.configure({"kind": "rate_limited", "retry_after_s": 7})
    site = opened(provider=provider)
    site.ask("EURUSD", "BTCUSD")
    before = {s: site.item(s) for s in ("EURUSD", "BTCUSD")}
    hint = site.refresher.refresh(site.claim()).hint
    assert hint.reason == "blocked"
    assert hint.wait_ms == pytest.approx(7_000, abs=5_000)
    for symbol, was in before.items():
        now = site.item(symbol)
        assert (now.score, now.attempts, now.priority) == (was.score, 0, was.priority)
        assert site.where(symbol) == "queue"
    assert site.context.limiter.status().urgent[1] == "blocked"
    assert site.status("EURUSD") is None, "waiting for quota is no error"


def test_429_without_a_word_blocks_one_window(opened: OPEN, provider: SandboxServer) -> None:
    provider.configure({"kind": "empty_429"})
    hint = opened(provider=provider, rate_window_seconds=33).refresh("EURUSD")
    assert hint.wait_ms == pytest.approx(33_000, abs=5_000)


def test_an_unknown_key_stops_everything_until_another_is_set(opened: OPEN) -> None:
    with worker_kit.sandbox("starter", key="the-right-one") as strict:
        site = opened(provider=strict)
        hint = site.refresh("EURUSD")
        assert hint.reason == "blocked"
        assert hint.wait_ms == pytest.approx(UNAUTHORIZED_BLOCK_MS, abs=60_000)
        item = site.item("EURUSD")
        assert item.attempts == 0
        reason = site.context.limiter.status().blocked_reason
        assert reason is not None
        assert KEY not in reason

        assert site.drain(slice_s=1).run().calls == 0  # with the same key: still blocked
        fresh = opened(provider=strict, massive_api_key="the-right-one")
        assert fresh.drain(slice_s=60).run().calls == 1
        assert fresh.events() == ["EURUSD"]


def test_a_new_key_does_not_lift_a_429(opened: OPEN, provider: SandboxServer) -> None:
    provider.configure({"kind": "rate_limited", "retry_after_s": 30})
    opened(provider=provider).refresh("EURUSD")
    assert opened(provider=provider, massive_api_key="another").drain(slice_s=0.3).run().calls == 0


def test_a_feed_that_the_plan_refuses_costs_one_call_a_day(opened: OPEN) -> None:
    with worker_kit.sandbox("spec") as limited:
        site = opened(provider=limited)
        site.ask("EURUSD", "BTCUSD", "ETHUSDT")
        score = site.item("EURUSD").score
        hint = site.refresher.refresh(site.claim()).hint
        assert hint.reason in ("free", "spacing")
        assert site.item("EURUSD").score == score
        assert set(site.capabilities.refused()) == {"snapshot_v3"}
        (key,) = site.context.redis.scan_iter(site.context.keys.capabilities("*"))
        assert 23 * 3600 < site.context.redis.ttl(key) <= 86400
        for _ in range(3):
            site.refresher.refresh(site.claim())
        paths = [a.path.split("/")[1:3] for a in limited.arrivals()]
        assert paths == [["v3", "snapshot"], *[["v2", "snapshot"]] * 3]
        assert site.outcomes() == ["NotEntitled", "ok", "ok", "ok"]
        assert sorted(site.events()) == ["BTCUSD", "ETHUSDT", "EURUSD"]
    other_key = opened("starter", massive_api_key="paid")
    assert other_key.capabilities.price_feed().name == "snapshot_v3", (
        "each key has a plan of its own"
    )


def test_a_free_plan_has_the_prices_of_a_day_and_then_its_bars(opened: OPEN) -> None:
    site = opened("free", polygon_tier="free")
    site.context.limiter.reset()
    site.ask("BTCUSD")
    for _ in range(3):
        site.refresher.refresh(site.claim())
    assert set(site.capabilities.refused()) == {"snapshot_v3", "snapshot"}
    assert site.events() == ["BTCUSD"]
    delay = site.one(
        "SELECT metadata#>>'{last_update,delay}' FROM trading.symbols WHERE symbol='BTCUSD'"
    )
    assert delay == "end_of_day"
    assert site.one("SELECT count(*) FROM market_data.ohlcv_5m") == 0
    site.context.queue.enqueue([bars_request(site.asset("BTCUSD"))], Priority.LOW)
    site.refresher.refresh(site.claim())
    count, bars = site.connection.execute(
        b"SELECT (SELECT count(*) FROM market_data.ohlcv_5m), bars FROM market_data.coverage"
        b" WHERE status = 'complete' AND timeframe = '5m'"
    ).fetchone() or (0, 0)
    assert count == bars > 200
    assert site.where("BTCUSD/5m") == "nowhere"


def test_a_series_of_one_day_lacks_it_in_the_first_seconds_of_the_next_day_too(
    opened: OPEN,
) -> None:
    """Bars of yesterday have not settled yet: the newest day is still the one before."""
    site = opened("free", polygon_tier="free")
    site.context.limiter.reset()
    site.context.queue.enqueue([bars_request(site.asset("BTCUSD"))], Priority.LOW)
    call = site.claim()
    midnight_ms = int(time.time()) // 86_400 * 86_400_000
    claimed = call.claimed._replace(granted_at_ms=midnight_ms + 3_000)
    site.refresher.refresh(replace(call, claimed=claimed))
    day = site.one("SELECT day FROM market_data.coverage WHERE status = 'complete'")
    assert day == datetime.fromtimestamp(midnight_ms / 1000, UTC).date() - timedelta(days=2)
    assert site.one("SELECT count(*) FROM market_data.ohlcv_5m") > 200


def test_a_plan_without_any_feed_does_not_turn_in_a_circle(
    opened: OPEN, provider: SandboxServer
) -> None:
    site = opened(provider=provider, retry_max_attempts=1, retry_delay_seconds=0)
    provider.configure({"kind": "refusal"})
    site.ask("BTCUSD")
    drained = site.drain(slice_s=60).run()
    assert drained.ended == "empty"
    assert drained.calls <= 5
    assert site.where("BTCUSD") == "dead"
    assert not site.capabilities.gives_bars()


def test_one_asset_that_makes_a_request_malformed_is_buried_alone(
    opened: OPEN, provider: SandboxServer
) -> None:
    site = opened(provider=provider)
    provider.configure({"kind": "bad_request", "tickers": ["C:GBPUSD"]})
    site.ask("EURUSD", "GBPUSD", "BTCUSD")
    assert site.drain(slice_s=60).run().calls == 5, "together, then by halves"
    assert sorted(site.events()) == ["BTCUSD", "EURUSD"]
    (letter,) = site.context.queue.dead()
    assert (letter.symbol, letter.kind) == ("GBPUSD", Death.INVALID)


def two_in_the_morning() -> int:
    """In New York it is still yesterday."""
    return (int(time.time()) // 86_400 * 86_400 + 7_200) * 1000


@pytest.fixture
def at_night(opened: OPEN) -> Iterator[tuple[Site, SandboxServer]]:
    """A free plan whose newest day is not published yet, as the workers know after two refusals."""
    with worker_kit.sandbox(
        "free", now_ms=two_in_the_morning, day_turns_in_new_york=True
    ) as behind:
        site = opened(provider=behind, polygon_tier="free", polygon_rate_limit=1000)
        site.context.limiter.reset()
        for feed in ("snapshot_v3", "snapshot"):
            site.capabilities.refuse(feed, "not in this plan")
        yield site, behind


def test_until_a_day_is_published_the_day_before_is_the_newest(
    at_night: tuple[Site, SandboxServer],
) -> None:
    site, _ = at_night
    site.ask("BTCUSD", "SOLUSD")
    site.drain(slice_s=60).run()
    assert site.outcomes() == ["NotYetPublished", "ok"], "one call finds out for the market"
    assert sorted(site.events()) == ["BTCUSD", "SOLUSD"]
    yesterday = datetime.fromtimestamp(two_in_the_morning() / 1000, UTC).date() - timedelta(days=1)
    as_of = site.one(
        "SELECT metadata#>>'{last_update,as_of}' FROM trading.symbols WHERE symbol='BTCUSD'"
    )
    assert datetime.fromisoformat(as_of).date() <= yesterday, "the midnight that ends its day"


def test_a_slower_call_for_older_days_does_not_undo_what_is_published(
    at_night: tuple[Site, SandboxServer],
) -> None:
    """Each worker looks at Redis before its call, and learns after it."""
    site, _ = at_night
    slow, quick, later = (Capabilities(site.context) for _ in range(3))
    slow.refused()
    newest = newest_allowed_day(datetime.now(UTC), AssetKind.CRYPTO)
    quick.published("X:BTCUSD", newest)
    slow.published("X:BTCUSD", newest - timedelta(days=1))
    later.refused()
    assert later.newest_bars_day("X:BTCUSD", datetime.now(UTC)) == newest


def test_the_day_before_is_not_asked_for_again_where_its_prices_are_stored(
    at_night: tuple[Site, SandboxServer],
) -> None:
    site, _ = at_night
    site.ask("BTCUSD", "SOLUSD")
    site.drain(slice_s=60).run()
    site.capabilities.not_published("X:BTCUSD", datetime(2020, 1, 1, tzinfo=UTC))  # it ended
    site.ask("BTCUSD", "SOLUSD")
    site.drain(slice_s=60).run()
    assert site.outcomes() == ["NotYetPublished", "ok", "NotYetPublished"]
    assert site.where("BTCUSD") == site.where("SOLUSD") == "nowhere"


def test_no_call_is_made_for_a_stored_price_while_the_newest_day_is_to_come(
    at_night: tuple[Site, SandboxServer],
) -> None:
    """Of two queued assets one finds out; the other's call would bring what is stored."""
    site, sandbox = at_night
    site.refresh("BTCUSD")
    site.drain(slice_s=60).run()
    before = len(sandbox.arrivals())
    site.ask("BTCUSD")
    site.drain(slice_s=60).run()
    assert len(sandbox.arrivals()) == before
    assert site.where("BTCUSD") == "nowhere"


def test_a_stored_price_makes_no_call_because_another_market_shares_it(
    at_night: tuple[Site, SandboxServer],
) -> None:
    """A grouped call is about the market of its first item."""
    site, sandbox = at_night
    site.refresh("BTCUSD")
    site.drain(slice_s=60).run()
    before = len(sandbox.arrivals())
    site.ask("BTCUSD")
    site.ask("EURUSD")
    site.drain(slice_s=60).run()
    asked = [arrival.path for arrival in sandbox.arrivals()[before:]]
    assert asked
    assert not any("crypto" in path for path in asked)
    assert site.where("BTCUSD") == site.where("EURUSD") == "nowhere"
    assert "EURUSD" in site.events()


def test_a_day_before_that_is_not_there_either_waits_without_an_attempt(
    at_night: tuple[Site, SandboxServer],
) -> None:
    site, _ = at_night

    class Never(Aggregates):
        def fetch(self, *_: object, **__: object) -> Answer:
            raise NotYetPublished("before end of day", status=403)

    site.capabilities.not_published("X:BTCUSD", datetime.now(UTC))
    site.ask("BTCUSD")
    never = Never()
    site.refresher.refresh(replace(site.claim(), feed_of=lambda *_: never))
    assert site.delay_ms("BTCUSD") == pytest.approx(PUBLISHED_LATER_MS, abs=60_000)
    assert site.item("BTCUSD").attempts == 0


# --- trouble: a retry at LOW after the delay, then a dead letter


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "server_error", "status": 503}, "ProviderDown"),
        ({"kind": "reset"}, "ProviderDown"),
        ({"kind": "html"}, "BadAnswer"),
        ({"kind": "truncated"}, "BadAnswer"),
        ({"kind": "nan"}, "BadAnswer"),
        ({"kind": "empty"}, "BadAnswer"),
        ({"kind": "redirect"}, "BadAnswer"),
        ({"kind": "hang"}, "ProviderDown"),
        ({"kind": "drip", "drip_s": 0.05}, "ProviderDown"),
        ({"kind": "zeros"}, "ok"),
        ({"kind": "wrong_types"}, "ok"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_trouble_is_retried_later_and_ends_as_a_dead_letter(
    opened: OPEN, provider: SandboxServer, fault: dict[str, Any], outcome: str
) -> None:
    provider.configure(fault)
    timeout_s = 0.4 if fault["kind"] in ("hang", "drip") else 10
    given = {"retry_max_attempts": 1, "retry_delay_seconds": 30}
    site = opened(provider=provider, request_timeout_seconds=timeout_s, **given)
    site.refresh("EURUSD", at=Priority.HIGH)
    item = site.item("EURUSD")
    assert (item.attempts, item.priority) == (1, Priority.LOW)
    assert item.last_error
    assert site.delay_ms("EURUSD") == pytest.approx(30_000, abs=15_000)
    if outcome == "ok":
        assert site.outcomes()[-1] in ("ok", "BadAnswer")
    else:
        assert site.outcomes() == [outcome]
    assert site.status("EURUSD")[0] == "error"  # type: ignore[index]

    site.context.redis.zadd(site.context.keys.delayed, {"EURUSD": 1})  # the delay is over
    site.refresher.refresh(site.claim())
    [letter] = site.context.queue.dead()
    assert (letter.symbol, letter.kind, letter.attempts) == ("EURUSD", Death.TRANSIENT, 2)
    assert site.events() == []

    provider.configure()
    patient = opened(provider=provider)
    patient.refresh("EURUSD")
    assert site.events() == ["EURUSD"]
    assert site.context.queue.dead() == []
    assert site.status("EURUSD") == ("success", None)


def test_a_call_whose_time_to_be_sent_is_over_is_not_sent(
    opened: OPEN, provider: SandboxServer
) -> None:
    site = opened(provider=provider)
    site.ask("EURUSD")
    call = site.claim()
    late = replace(call, deadline=SendDeadline.after(0))
    site.refresher.refresh(late)
    assert provider.arrivals() == []
    assert site.where("EURUSD") == "queue"
    assert site.item("EURUSD").attempts == 0
    assert site.outcomes() == ["SendDeadlinePassed"]


def test_nobody_listens_there(opened: OPEN) -> None:
    with worker_kit.sandbox() as gone:
        pass
    site = opened(provider=gone)
    site.refresh("EURUSD")
    assert site.item("EURUSD").attempts == 1


def test_a_failed_bars_item_is_no_error_of_its_asset(opened: OPEN, provider: SandboxServer) -> None:
    site = opened(provider=provider)
    site.refresh("BTCUSD")
    provider.configure({"kind": "server_error"})
    site.context.queue.enqueue([bars_request(site.asset("BTCUSD"))], Priority.HIGH)
    site.refresher.refresh(site.claim())
    assert site.where("BTCUSD/5m") == "delayed"
    assert site.status("BTCUSD") == ("success", None)


# --- a lease that is lost, a database that is gone


def test_a_zombie_neither_completes_nor_publishes(opened: OPEN) -> None:
    """The lease ends while the call is under way, and another worker refreshes the asset."""
    during: list[Callable[[], None]] = []
    with worker_kit.sandbox(on_request=lambda *_: during and during.pop()()) as slow:
        site = opened(provider=slow)
        site.ask("EURUSD")
        zombie = site.claim()

        def meanwhile() -> None:
            site.context.redis.zadd(site.context.keys.leases, {"EURUSD": 1})
            site.context.queue.reap()

        during.append(meanwhile)
        hint = site.refresher.refresh(zombie).hint
        assert site.where("EURUSD") == "queue"
        assert site.events() == []
        assert hint.reason in ("free", "spacing")
        assert site.item("EURUSD").crashes == 1
        site.refresher.refresh(site.claim())
        assert site.events() == ["EURUSD"]
        assert site.where("EURUSD") == "nowhere"


def test_a_zombie_that_failed_takes_nothing_back(opened: OPEN) -> None:
    during: list[Callable[[], None]] = []
    with worker_kit.sandbox(on_request=lambda *_: during and during.pop()()) as slow:
        slow.configure({"kind": "server_error", "count": 1})
        site = opened(provider=slow)
        site.ask("EURUSD")
        zombie, other = site.claim(), []

        def meanwhile() -> None:
            site.context.redis.zadd(site.context.keys.leases, {"EURUSD": 1})
            site.context.queue.reap()
            other.append(site.claim())

        during.append(meanwhile)
        site.refresher.refresh(zombie)
        assert site.where("EURUSD") == "leases", "the other one's lease stands"
        assert site.item("EURUSD").attempts == 0
        site.refresher.refresh(other[0])
        assert site.events() == ["EURUSD"]


def test_an_answer_in_hand_goes_back_when_postgres_is_killed(
    opened: OPEN, pg_server: Any, r: redis.Redis
) -> None:
    """Nothing is claimed while it is away; afterwards everything is refreshed."""
    during: list[Callable[[], None]] = [lambda: pg_server.kill()]
    with worker_kit.sandbox(on_request=lambda *_: during and during.pop()()) as slow:
        site = opened(provider=slow)
        site.ask("EURUSD", "BTCUSD")
        with pytest.raises(DatabaseError):
            site.drain().run()
        for symbol in ("EURUSD", "BTCUSD"):
            assert site.where(symbol) == "delayed"
            assert site.delay_ms(symbol) <= 5_000
            assert site.item(symbol).attempts == 0
        assert site.events() == []
        assert len(slow.arrivals()) == 1
        r.zadd(site.context.keys.delayed, {"EURUSD": 1, "BTCUSD": 1})
        with pytest.raises(DatabaseError):
            site.drain().run()
        assert len(slow.arrivals()) == 1, "without PostgreSQL nothing is claimed"
        assert site.ticks.queue.count == 0, "and no drain is started in vain"
        pg_server.start()
        again = opened(provider=slow)
        again.drain().run()
        assert sorted(again.events()) == ["BTCUSD", "EURUSD"]
        assert again.status("EURUSD") == ("success", None)


def test_postgres_is_asked_before_every_claim(opened: OPEN, pg_server: Any) -> None:
    """Killed while a drain waits between two calls: the second call is not made."""
    with worker_kit.sandbox("starter") as provider:
        site = opened(provider=provider, polygon_rate_limit=1, rate_window_seconds=0.4)
        site.capabilities.refuse("snapshot_v3", "not in this plan")
        site.ask("EURUSD")
        site.ask("BTCUSD")

        class Killer(StopFlag):
            def is_set(self) -> bool:
                if site.events():
                    pg_server.kill()
                return False

        with pytest.raises(DatabaseError):
            site.drain(stop=Killer()).run()
        assert len(provider.arrivals()) == 1
        assert site.where("BTCUSD") == "queue"


def test_a_job_timeout_in_the_middle_of_a_transaction_leaves_nothing_behind(
    opened: OPEN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RQ's signal strikes at any line: the item ends as one in whose call this program failed."""

    site = opened("starter")

    def struck(*args: Any) -> None:
        insert_call(*args)
        if args[2].call_id != "probe":
            raise JobTimeoutException("Task exceeded maximum timeout value")

    monkeypatch.setattr("db.writing.insert_call", struck)
    site.ask("EURUSD")
    with pytest.raises(JobTimeoutException):
        site.drain().run()
    monkeypatch.undo()
    assert site.connection.closed
    assert site.where("EURUSD") == "delayed"
    assert "JobTimeoutException" in (site.item("EURUSD").last_error or "")
    assert site.events() == []
    again = opened("starter")
    assert again.one("SELECT count(*) FROM data_sources.api_calls") == 0
    again.context.redis.zadd(again.context.keys.delayed, {"EURUSD": 1})
    assert again.drain().run().calls == 1
    assert again.events() == ["EURUSD"]


def test_an_asset_that_the_users_own_table_refuses_does_not_hold_up_the_others(
    opened: OPEN, provider: SandboxServer
) -> None:
    site = opened(provider=provider)
    site.connection.execute(
        """ALTER TABLE trading.symbols ADD CONSTRAINT theirs
           CHECK (symbol <> 'EURUSD' OR NOT coalesce(metadata, '{}') ? 'last_update')"""
    )
    site.ask("BTCUSD", "EURUSD", "NOPEUSD", "GBPUSD")
    site.drain().run()
    assert len(provider.arrivals()) == 1
    assert sorted(site.events()) == ["BTCUSD", "GBPUSD"]
    letters = {letter.symbol: letter for letter in site.context.queue.dead()}
    assert set(letters) == {"EURUSD", "NOPEUSD"}
    assert "refused" in letters["EURUSD"].reason
    assert site.status("EURUSD")[0] == "error"  # type: ignore[index]
    assert site.status("BTCUSD") == ("success", None)
    assert site.outcomes() == ["ok"]
    assert site.one("SELECT count(*) FROM data_sources.api_calls") == 1
