"""`assetq plan`: what was learned of the API key, and forgetting it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import redis

from runtime.context import Context
from settings import Settings
from tests.kit.cli_runs import Cli
from worker.capabilities import Capabilities

KEY = "planted-key-4711"
WORDS = "You are not entitled to this data."


@pytest.fixture
def cli(tmp_path: Path, redis_url: str) -> Cli:
    env = {"REDIS_URL": redis_url, "MASSIVE_API_KEY": KEY, "POLYGON_BASE_URL": "http://127.0.0.1:9"}
    return Cli(tmp_path, env)


def of(cli: Cli, r: redis.Redis, **env: str) -> Capabilities:
    return Capabilities(Context.on(r, Settings.load({**cli.env, **env}, env_file=None)))


def test_what_was_learned_is_shown_and_forgotten(cli: Cli, r: redis.Redis) -> None:
    assert "nothing yet" in cli.here("plan", "show").out
    known = of(cli, r)
    known.refuse("snapshot_v3", WORDS)
    known.not_published("X:BTCUSD", datetime.now(UTC))
    known.published("C:EURUSD", date(2026, 1, 5))
    known.no_trading("C:EURUSD", date(2026, 1, 1))
    known.absent("grouped", ["C:XAUUSD"])

    document = cli.here("plan", "show", "--json").json
    feeds = {row["feed"]: (row["refused"], row["words"]) for row in document["feeds"]}
    assert feeds["snapshot_v3"] == (True, WORDS)
    assert feeds["aggregates"] == (False, None)
    assert (document["price_feed"], document["tier"]) == ("snapshot", "free")
    assert document["base_url"] == "http://127.0.0.1:9"
    since, until = (
        datetime.fromisoformat(document[name]) for name in ("learned_since", "asked_anew_at")
    )
    assert (until - since).total_seconds() == 24 * 3600
    assert abs((datetime.now(UTC) - since).total_seconds()) < 120
    forex = next(row for row in document["markets"] if row["market"] == "forex")
    assert (forex["published"], forex["no_trading"]) == ("2026-01-05", "2026-01-01")
    assert document["absent"] == [{"feed": "grouped", "ticker": "C:XAUUSD"}]

    text = cli.here("plan", "show").out
    assert WORDS in text
    assert "published up to 2026-01-05; did not trade on 2026-01-01" in text
    assert "newest day not published, asked again" in text
    assert "1 tickers that a feed does not give" in text

    assert cli.here("plan", "forget").out.startswith("forgotten")
    assert of(cli, r).price_feed().name == "snapshot_v3"
    assert cli.here("plan", "forget").out.startswith("nothing was learned yet")
    assert KEY not in "".join(cli.said)


def test_another_key_address_or_tier_starts_anew(cli: Cli, r: redis.Redis) -> None:
    of(cli, r).refuse("snapshot_v3", WORDS)
    for name, value in (
        ("MASSIVE_API_KEY", "another-key"),
        ("POLYGON_BASE_URL", "http://127.0.0.1:10"),
        ("POLYGON_TIER", "starter"),
    ):
        document = cli.here("plan", "show", "--json", **{name: value}).json
        assert document["learned_since"] is None
        assert not any(row["refused"] for row in document["feeds"])
        assert cli.here("plan", "forget", **{name: value}).out.startswith("nothing")
    assert of(cli, r).price_feed().name == "snapshot", "it was not forgotten for this one"


def test_without_key_or_redis(cli: Cli) -> None:
    assert "not set" in cli.here("plan", "show", MASSIVE_API_KEY="").out
    for command in ("show", "forget"):
        cli.here("plan", command, REDIS_URL="redis://127.0.0.1:1/0").failed(4, "127.0.0.1:1")
