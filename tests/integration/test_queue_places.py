"""How many items the queue takes: one bound, which every process keeps and every surface tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.symbols import Asset, SymbolRepository
from queueing import Outcome, Priority, Request
from runtime.context import Context
from tests.kit.cli_runs import Cli
from tests.kit.worker import CRITICAL, OTHERS, Site, process_env, settings_for
from web.app import create_app
from worker import tracking
from worker.secondary import enqueue_secondary

NOWHERE = "http://127.0.0.1:1"
MANY = [Asset(f"A{n:04}USD", f"X:A{n:04}USD", "crypto", None, 4) for n in range(600)]
TRACKED = len(MANY) + len(CRITICAL) + len(OTHERS)


@pytest.fixture
def site(redis_url: str, migrated_url: str) -> Iterator[Site]:
    with Site.open(settings_for(redis_url, migrated_url, NOWHERE)) as opened:
        SymbolRepository(opened.connection).upsert_many(MANY)
        yield opened


def test_an_import_has_room_for_every_asset(site: Site) -> None:
    """Beyond the 1,000 that an empty Redis starts with."""
    asked = tracking.ask_at_once(site.context, site.connection, [asset.symbol for asset in MANY])
    assert {outcome for _, outcome, _ in asked} == {Outcome.ENQUEUED}
    assert site.context.queue.size == 2 * len(MANY)
    assert site.context.queue.max_size == 3 * TRACKED


def test_every_surface_tells_the_bound_that_a_round_left(site: Site, tmp_path: Path) -> None:
    enqueue_secondary(site.context, site.connection, site.capabilities)
    assert 1_000 < site.context.queue.size < 3 * TRACKED
    with Context.open(site.context.settings) as other:
        reply = other.queue.enqueue([Request("LATE")], Priority.LOW)
    assert reply.symbols(Outcome.ENQUEUED) == ["LATE"]
    cli = Cli(tmp_path, process_env(site.context.settings, tmp_path))
    client = create_app(site.context.settings).test_client()
    doctor = [check["text"] for check in cli.here("doctor", "--json").json["checks"]]
    bounds = [
        cli.here("queue", "stats", "--json").json["max_size"],
        client.get("/health/batch").get_json()["queue"]["max_size"],
        *re.findall(r"^assetq_queue_max_items (\d+)", client.get("/metrics").text, re.M),
        *re.findall(r"pending, of (\d+) places", "\n".join(doctor)),
        *re.findall(r"of (\d+) places are taken", client.get("/").text),
        *re.findall(r"room left +\d+ of (\d+)", cli.here("queue", "stats").out),
    ]
    assert [int(float(bound)) for bound in bounds] == [3 * TRACKED] * 6


def test_a_bound_that_is_set_holds_whatever_a_round_counted(site: Site, tmp_path: Path) -> None:
    enqueue_secondary(site.context, site.connection, site.capabilities)
    cli = Cli(tmp_path, process_env(site.context.settings, tmp_path))
    stats = cli.here("queue", "stats", "--json", QUEUE_MAX_SIZE="1000").json
    assert stats["max_size"] == 1000
    site.context.queue.cancel(["GBPUSD"])
    done = cli.here("enqueue", "GBPUSD", QUEUE_MAX_SIZE="1000")
    done.failed(5, f"the queue is full ({site.context.queue.size} of 1000)")
