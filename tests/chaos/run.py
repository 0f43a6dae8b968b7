"""Chaos: kill, freeze, restart, cut and slow everything for a while; is any promise broken?

Real Valkey, PostgreSQL, scheduler, workers and pages, servers that answer and refuse, and a sandbox
that errs, lies, stalls and refuses.

    python -m tests.chaos.run --seconds 120 --seed 1      # exit code 1 and the promises, if any
    python -m tests.chaos.run --seed 1 --plan             # what would happen when
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from cli.commands.acl import USER, acl_line
from db.connection import connect
from db.migrate import migrate
from db.symbols import Asset, SymbolRepository
from local.servers.postgres import PostgresServer
from local.servers.server import Server, free_port
from settings import Settings
from tests.chaos.checker import summary
from tests.chaos.clock import SettableValkey, why_not
from tests.chaos.evidence import PREFIX, Evidence, Rules, gather, note_history
from tests.chaos.faults import KILLS, KINDS, Fault, Hand, plan
from tests.chaos.fleet import PYTHON, ROOT, Fleet
from tests.chaos.outside import STEP_S, Outside
from tests.chaos.promises import judge
from tests.chaos.watch import Client, HealthWatch, LeaseWatch, now_ms, running
from tests.kit.roads import Road
from tests.kit.security import REDIS_PASSWORD, least_role
from tests.kit.up_runs import clean_env

CRITICAL = (("XAUUSD", "C:XAUUSD"), ("EURUSD", "C:EURUSD"), ("BTCUSD", "X:BTCUSD"))
POISONOUS = ("QAAUSD", "X:QAAUSD")
"""The provider answers 500 to every call for it, alone or among others."""
SANDBOX_FAULTS = (
    f"server_error,tickers={POISONOUS[1]}",
    *("delay,probability=0.2,min_s=0.05,max_s=1.2", "server_error,probability=0.03"),
    *("rate_limited,probability=0.006,retry_after_s=1", "empty_429,probability=0.002"),
    *("html,probability=0.01", "truncated,probability=0.01", "cut,probability=0.01"),
    *("nan,probability=0.01", "wrong_types,probability=0.01", "zeros,probability=0.01"),
    *("empty,probability=0.01", "reset,probability=0.01", "hang,probability=0.008"),
)
VALKEY_OPTIONS = (
    *("--user", USER, *acl_line("massive", password=REDIS_PASSWORD).split()[3:]),
    *("--enable-protected-configs", "yes", "--busy-reply-threshold", "300"),
)
PLANS = ("spec", "starter")
"""By seed in turn: one asset per call and many calls, or up to 250 in one."""


@dataclass(frozen=True)
class Town:
    """Everything that runs, and the roads between."""

    valkey: SettableValkey
    postgres: PostgresServer
    redis_road: Road
    postgres_road: Road
    database_url: str
    """That of the owner."""
    sandbox_url: str
    web_url: str
    env: dict[str, str]

    @property
    def settings(self) -> Settings:
        return Settings.load(self.env, env_file=None)


def catalogue(size: int) -> list[Asset]:
    """The critical assets, and coins that nobody knows: traded at every hour of the week."""
    names = islice(product(ascii_uppercase, repeat=2), size - len(CRITICAL))
    coins = [(f"Q{a}{b}USD", f"X:Q{a}{b}USD") for a, b in names]
    critical = [Asset(symbol, ticker, "forex", None, 1, None) for symbol, ticker in CRITICAL]
    return critical + [
        Asset(symbol, ticker, "crypto", None, 2 + number % 3, None)
        for number, (symbol, ticker) in enumerate(coins)
    ]


@contextmanager
def town(arguments: argparse.Namespace, folder: Path, assets: list[Asset]) -> Iterator[Town]:
    """Servers, roads and provider, stopped at the end. What is tested has the least rights."""
    with ExitStack() as stack:
        valkey = SettableValkey(folder / "valkey", extra=VALKEY_OPTIONS)
        postgres = PostgresServer(folder / "postgres")
        for server in (valkey, postgres):
            server.start()
            stack.callback(server.stop)
        url = postgres.ensure_database()
        migrate(url)
        with connect(url) as connection:
            SymbolRepository(connection).upsert_many(assets)
        note_history(url)
        least_url = stack.enter_context(least_role(url))
        tickers = folder / "tickers.txt"
        tickers.write_text("\n".join(asset.polygon_ticker for asset in assets))
        process, sandbox_url = start_sandbox(arguments, tickers)
        stack.callback(process.wait, 10)
        stack.callback(process.terminate)
        redis_road, postgres_road = (road_to(stack, server) for server in (valkey, postgres))
        web_port = free_port()
        env = clean_env(
            folder,
            PYTHONPATH=f"{ROOT / 'tests' / 'chaos' / 'site'}{os.pathsep}{ROOT}",
            REDIS_URL=f"redis://{USER}:{REDIS_PASSWORD}@127.0.0.1:{redis_road.port}/0",
            DATABASE_URL=least_url.replace(f":{postgres.port}/", f":{postgres_road.port}/"),
            POLYGON_BASE_URL=sandbox_url,
            POLYGON_TIER="starter",
            MASSIVE_API_KEY="chaos",
            POLYGON_RATE_LIMIT=str(arguments.limit),
            RATE_WINDOW_SECONDS=str(arguments.window),
            REQUEST_TIMEOUT_SECONDS="2",
            BATCH_INTERVAL_MINUTES="1",
            SECONDARY_INTERVAL_MINUTES="2",
            RETRY_DELAY_SECONDS="2",
            PORT=str(web_port),
        )
        web_url = f"http://127.0.0.1:{web_port}"
        roads = redis_road, postgres_road
        yield Town(valkey, postgres, *roads, url, sandbox_url, web_url, env)


def road_to(stack: ExitStack, server: Server) -> Road:
    """A proxy in front of a server."""
    road = Road(server.port).start()
    stack.callback(road.stop)
    return road


def start_sandbox(
    arguments: argparse.Namespace, tickers: Path
) -> tuple["subprocess.Popen[str]", str]:
    """The provider, in a process of its own; and its URL."""
    options: list[object] = ["--port", 0, "--plan", PLANS[(arguments.seed + 1) % len(PLANS)]]
    options += ["--seed", arguments.seed, "--limit", arguments.limit]
    options += ["--window-s", arguments.window, "--tickers", tickers]
    for fault in SANDBOX_FAULTS:
        options += ["--fault", fault]
    process = subprocess.Popen(
        [PYTHON, "-m", "local.sandbox", "--no-count-refused", *map(str, options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[1]


def chaos(arguments: argparse.Namespace, place: Town, assets: list[Asset]) -> tuple[Evidence, Hand]:
    """Faults for a while, then peace; returns what was left behind."""
    pairs = {asset.symbol: asset.polygon_ticker for asset in assets}
    fleet = Fleet(place.env, arguments.workers, arguments.log, seed=arguments.seed, web=True)
    others = sorted(set(pairs.items()) - set(CRITICAL) - {POISONOUS})
    client = Client(place.valkey.url, others, POISONOUS, seed=arguments.seed)
    watch = LeaseWatch(place.valkey.url, place.settings.lease_ms)
    health = HealthWatch(place.web_url)
    hand = hand_on(place, fleet, list(pairs), arguments.seed)
    began_ms = now_ms()
    try:
        with running(watch, health):
            with running(client):
                trouble(arguments, hand)
            hand.settle()
            forgive(place.sandbox_url)
            settle(place.valkey.url, fleet, arguments.settle)
    finally:
        hand.settle()
        fleet.stop()
    poisonous = (began_ms, now_ms(), "poisonous ticker", [POISONOUS[0].lower()])
    found = {
        "requests": client.acknowledged,
        "recoveries": watch.recoveries,
        "excused": [*hand.excused, *watch.outages],
        "disturbances": hand.disturbances,
        "late": fleet.late,
        "ended": fleet.ended,
        "deaths": dict(hand.deaths),
        "troubles": [*hand.troubles, poisonous],
        "health": health.readings,
    }
    return collect(arguments, place, pairs, found), hand


def hand_on(place: Town, fleet: Fleet, symbols: list[str], seed: int) -> Hand:
    """A hand that reaches everything; a quarter of the rows may get locked."""
    return Hand(
        fleet,
        place.valkey,
        place.postgres,
        place.redis_road,
        place.postgres_road,
        Outside(place.valkey, place.database_url, tuple(symbols[: len(symbols) // 4])),
        frozen_s=frozen_s(place),
        die=random.Random(seed),
    )


def frozen_s(place: Town) -> float:
    """How long a process sleeps that gets frozen: beyond its lease."""
    return place.settings.lease_ms / 1000 + 2


def collect(
    arguments: argparse.Namespace, place: Town, pairs: dict[str, str], found: dict[str, Any]
) -> Evidence:
    """What was left in the stores, and what was seen meanwhile."""
    rules = Rules(
        arguments.limit,
        arguments.window,
        send_s=place.settings.send_budget_ms / 1000,
        workers=arguments.workers,
        frozen_s=frozen_s(place),
        clock_step_s=STEP_S,
    )
    return gather(
        rules,
        pairs,
        redis_url=place.valkey.url,
        database_url=place.database_url,
        sandbox_url=place.sandbox_url,
        **found,
    )


def trouble(arguments: argparse.Namespace, hand: Hand) -> None:
    """Carries out the plan."""
    start = time.monotonic()
    faults = planned(arguments)
    while (passed := time.monotonic() - start) < arguments.seconds:
        if faults and faults[0].at_s <= passed:
            fault = faults.pop(0)
            if arguments.verbose:
                print(fault, flush=True)
            hand.strike(fault)
        hand.tick()
        time.sleep(0.1)


def planned(arguments: argparse.Namespace) -> list[Fault]:
    """What happens when."""
    return plan(arguments.seed, arguments.seconds, arguments.workers, only=arguments.only or KINDS)


def forgive(sandbox_url: str) -> None:
    """The provider behaves from now on."""
    request = urllib.request.Request(
        f"{sandbox_url}/_sandbox/faults", data=b'{"faults": []}', method="POST"
    )
    urllib.request.urlopen(request, timeout=10).close()


def settle(redis_url: str, fleet: Fleet, at_most_s: float) -> None:
    """Until all that waits now, and is due within the minute, has left, or the time is over."""
    deadline = time.monotonic() + at_most_s
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        waiting = requests_of(redis)
        now_s = redis.time()[0]
        far = {
            str(symbol)
            for symbol in redis.zrangebyscore(f"{PREFIX}delayed", (now_s + 60) * 1000, "+inf")
        }
        waiting = {symbol: at for symbol, at in waiting.items() if symbol not in far}
        while time.monotonic() < deadline:
            fleet.revive()
            now = requests_of(redis)
            if not any(now.get(symbol) == at for symbol, at in waiting.items()):
                return
            time.sleep(0.5)


def requests_of(redis: "Redis") -> dict[str, int]:
    """symbol → when it was asked for."""
    try:
        items = redis.hgetall(f"{PREFIX}items")
    except RedisError:
        return {}
    return {str(symbol): json.loads(raw)["enqueued_at_ms"] for symbol, raw in items.items()}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--settle", type=float, default=90, help="peace at the end, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--window", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--assets", type=int, default=300)
    parser.add_argument("--log", type=Path, default=Path(os.devnull))
    parser.add_argument("--evidence", type=Path, help="keep what was found, for the checker")
    parser.add_argument("--only", action="append", choices=KINDS, help="nothing else goes wrong")
    parser.add_argument("--verbose", action="store_true", help="a line per fault")
    parser.add_argument("--plan", action="store_true", help="print the plan and do nothing")
    return parser.parse_args(argv)


def main() -> int:
    """0: every promise was kept."""
    arguments = parse()
    if arguments.plan:
        for fault in planned(arguments):
            print(fault)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing of it stays
    assets = catalogue(arguments.assets)
    with tempfile.TemporaryDirectory(prefix="assetq-chaos-") as name:
        os.chmod(name, 0o755)
        with town(arguments, Path(name), assets) as place:
            evidence, hand = chaos(arguments, place, assets)
    if arguments.evidence:
        evidence.save(arguments.evidence)
    return report(arguments, evidence, hand)


def report(arguments: argparse.Namespace, evidence: Evidence, hand: Hand) -> int:
    """Prints figures and verdict."""
    kills = sum(hand.counts[kind] for kind in KILLS)
    head = {"seed": arguments.seed, "faults": sum(hand.counts.values()), "kills": kills}
    head["hit in a call"] = hand.aimed
    print(json.dumps({**head, **summary(evidence), "by kind": dict(sorted(hand.counts.items()))}))
    if (reason := why_not()) is not None:
        print(f"no clock was set: {reason}")
    broken = judge(evidence)
    for one in broken:
        print(f"BROKEN {one}")
    print(f"seed {arguments.seed}: {len(broken)} broken promises")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
