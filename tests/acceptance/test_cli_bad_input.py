"""Everything a user can get wrong: one line with cause and remedy, the documented exit code, no
traceback, nothing changed, and no secret."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from db.symbols import Asset, SymbolRepository
from queueing import Keys
from tests.kit.cli_runs import ASSETQ, Cli

KEY = "planted-key-4711"
PASSWORD = "planted-password-4711"
HEADER = "symbol,polygon_ticker,asset_type,priority\n"
NOWHERE = f"redis://:{PASSWORD}@127.0.0.1:1/0"


@pytest.fixture
def cli(tmp_path: Path, redis_url: str, migrated_url: str, r: redis.Redis) -> Iterator[Cli]:
    from db.connection import connect

    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many([Asset("EURUSD", "C:EURUSD", "forex")])
    cli = Cli(
        tmp_path,
        {"REDIS_URL": redis_url, "DATABASE_URL": migrated_url, "MASSIVE_API_KEY": KEY},
    )
    before = _state(r, migrated_url)
    yield cli
    assert _state(r, migrated_url) == before, "a refused command changed something"
    said = "".join(cli.said)
    for secret in (KEY, PASSWORD):
        assert secret not in said
    assert "Traceback" not in said


def _state(r: redis.Redis, database_url: str) -> object:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT symbol, polygon_ticker FROM trading.symbols").fetchall()
    return sorted(map(str, r.scan_iter())), sorted(rows)


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("enqueue EURUDS", 6, ["EURUDS is not a tracked symbol", "Did you mean EURUSD?"]),
        ("enqueue eur/usk", 6, ["eur/usk is not a tracked symbol", "Did you mean EURUSD?"]),
        ("enqueue C:EURUSK", 6, ["Did you mean EURUSD?"]),
        ("enqueue AAPL", 6, ["AAPL is not a tracked symbol. `assetq symbols list`"]),
        ("enqueue EURUSD EUR/USD!", 2, ["'EUR/USD!' is not a symbol", "letters, digits"]),
        ("enqueue EURUSD /", 2, ["'/' is not a symbol"]),
        ("queue list EUR/USD", 6, ["EUR/USD is not pending"]),
        ("enqueue EURUSD --priority 9", 2, ["'9' is not a priority: use CRITICAL", "3, 4"]),
        ("enqueue", 2, ["SYMBOL", "assetq enqueue --help"]),
        ("enqeue EURUSD", 2, ["There is no command 'enqeue'. Did you mean enqueue?"]),
        ("queue lst", 2, ["'lst'", "assetq queue --help"]),
        ("queue list --limit 1.5", 2, ["'1.5' is not a valid whole number."]),
        ("queue list --limit 0", 2, ["--limit", "0 is not in the range"]),
        ("limiter consume 0", 2, ["0 is not in the range"]),
        ("limiter block soon", 2, ["'soon' is not a valid number."]),
        *[(f"limiter block {s}", 2, [f"'{s}' is not a number"]) for s in ("nan", "NaN")],
        ("limiter block inf", 2, ["inf is not in the range"]),
        *[(f"watch --for {s}", 2, [f"'{s}' is not a number"]) for s in ("nan", "inf")],
        *[(f"{c} nan", 2, ["'nan' is not a number"]) for c in ("drain --for", "simulate --hours")],
        ("dead retry EURUSD", 6, ["EURUSD is not among the dead letters"]),
        ("dead drop", 2, ["--all"]),
        ("symbols import nowhere.csv", 6, ["nowhere.csv: cannot be read: No such file"]),
    ],
)
def test_a_command_line_that_makes_no_sense(
    cli: Cli, command: str, code: int, told: list[str]
) -> None:
    done = cli.here(*command.split())
    if command.startswith("symbols"):
        assert done.code == code
        assert told[0] in done.complaints[0]
    else:
        done.failed(code, *told)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (HEADER + "A,C:AAABBB,forex,9\n", "line 2: priority: '9': use CRITICAL, HIGH, MEDIUM, LOW"),
        (HEADER + "A,EURUSD,forex,2\n", "line 2: polygon_ticker: 'EURUSD' is not a ticker"),
        (HEADER + "A,C:AAABBB,forex,2\nB,C:BBBCCC,,2\n", "line 3: asset_type"),
        (HEADER + "A,C:AAABBB,forex,2\nA,C:AAABBB,forex,2\n", "line 3: A is listed twice"),
        ("symbol,name\nA,B\n", "line 1: the columns symbol, polygon_ticker, asset_type are needed"),
        (
            HEADER + "A,C:AAABBB,fo\0rex,2\n",
            "line 2: asset_type: holds a character that PostgreSQL",
        ),
        ("", "line 1: the columns"),
        (HEADER, "lists no asset"),
        (b"\xff\xfe\x00", "cannot be read: not UTF-8 text"),
    ],
)
def test_a_bad_catalogue_imports_nothing(cli: Cli, content: str | bytes, told: str) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    (cli.cwd / "bad.csv").write_bytes(raw)
    done = cli.here("symbols", "import", "bad.csv")
    assert (done.code, done.out) == (2, "")
    assert done.complaints[0].startswith(f"assetq: bad.csv: {told}")
    assert "Nothing was changed" in done.complaints[-1]


@pytest.mark.parametrize(
    "content", ["- symbol: [", "- {symbol: !!int ''}", "- 2026-13-45", "[" * 1500 + "]" * 1500]
)
def test_broken_yaml_imports_nothing(cli: Cli, content: str) -> None:
    (cli.cwd / "bad.yml").write_text(content)
    done = cli.here("symbols", "import", "bad.yml")
    assert done.code == 2
    assert "bad.yml: not valid YAML" in done.complaints[0]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"REDIS_URL": f"http://:{PASSWORD}@x"}, ["REDIS_URL", "redis://"]),
        ({"DATABASE_URL": f"mysql://u:{PASSWORD}@x/y"}, ["DATABASE_URL", "postgresql://"]),
        ({"DATABASE_URL": f"postgresql://u:a@{PASSWORD}@x/y"}, ["DATABASE_URL", "%40"]),
        ({"POLYGON_BASE_URL": "not a url"}, ["POLYGON_BASE_URL", "http://"]),
        ({"POLYGON_TIER": "gold"}, ["POLYGON_TIER", "gold", "free"]),
        ({"BATCH_INTERVAL_MINUTES": "0"}, ["BATCH_INTERVAL_MINUTES", "0"]),
        ({"ASSETQ_CONFIG": "none.yml"}, ["ASSETQ_CONFIG", "none.yml"]),
        ({"ASSETQ_CONFIG": "broken.yml"}, ["broken.yml", "YAML"]),
    ],
)
def test_settings_that_make_no_sense(cli: Cli, variables: dict[str, str], told: list[str]) -> None:
    (cli.cwd / "broken.yml").write_text("queue: [")
    cli.here("queue", "stats", **variables).failed(3, *told)
    report = cli.here("doctor", **variables)
    assert report.code == 1
    assert report.out.startswith("fail  settings")


@pytest.mark.parametrize(
    ("variables", "dotenv", "told"),
    [
        ({"ASSETQ_CONFIG": "c.yml"}, b"", "c.yml: not valid YAML: a value that is not what it"),
        ({}, b"WEB_PASSWORD=\xff", ".env: is not UTF-8 text"),
        ({"ASSETQ_CONFIG": "none.yml", "WEB_PASSWORD": "ab\udcffcd"}, b"", "none.yml"),
    ],
    ids=["YAML with a false tag", ".env in Latin-1", "a password that is no UTF-8"],
)
def test_bytes_and_tags_that_no_reader_expects(
    cli: Cli, variables: dict[str, str], dotenv: bytes, told: str
) -> None:
    (cli.cwd / "c.yml").write_text("queue:\n  max_size: !!timestamp x\n")
    (cli.cwd / ".env").write_bytes(dotenv)
    cli.here("queue", "stats", **variables).failed(3, told)


def test_without_a_key_nothing_is_refreshed_and_the_name_is_told(cli: Cli) -> None:
    cli.here("drain", MASSIVE_API_KEY="").failed(3, "MASSIVE_API_KEY", "POLYGON_API_KEY")
    cli.here("batch", MASSIVE_API_KEY="").failed(3, "MASSIVE_API_KEY")


@pytest.mark.parametrize(
    "command", ["queue stats", "limiter status", "watch", "dead list", "batch"]
)
def test_redis_is_down(cli: Cli, command: str) -> None:
    done = cli.here(*command.split(), REDIS_URL=NOWHERE)
    done.failed(
        4,
        "Redis does not answer (Connection refused), at redis://***@127.0.0.1:1/0",
        "correct REDIS_URL",
    )


def test_redis_wants_another_password(cli: Cli, r: redis.Redis) -> None:
    wrong = cli.env["REDIS_URL"].replace("redis://", f"redis://nobody:{PASSWORD}@")
    cli.here("queue", "stats", REDIS_URL=wrong).failed(4, "refuses the login", "REDIS_URL")
    r.config_set("requirepass", "right")
    try:
        cli.here("queue", "stats").failed(4, "refuses the login", "password")
    finally:
        with redis.Redis.from_url(cli.env["REDIS_URL"], password="right") as admin:
            admin.config_set("requirepass", "")


def test_postgresql_is_down_or_refuses(cli: Cli) -> None:
    url = cli.env["DATABASE_URL"]
    place = url.rpartition("@")[2]
    down = f"postgresql://u:{PASSWORD}@127.0.0.1:1/d"
    cli.here("enqueue", "EURUSD", DATABASE_URL=down).failed(4, "127.0.0.1:1", "Start PostgreSQL")
    wrong = f"postgresql://assetq:{PASSWORD}@{place}"
    cli.here("symbols", "list", DATABASE_URL=wrong).failed(4, "password authentication failed")
    other = f"{url.rpartition('/')[0]}/nowhere"
    cli.here("migrate", DATABASE_URL=other).failed(
        4, 'database "nowhere" does not exist', "DB_NAME"
    )


@pytest.mark.parametrize("command", ["enqueue EURUSD", "symbols list", "symbols import", "batch"])
def test_a_missing_migration_is_named_with_its_remedy(
    cli: Cli, database_url: str, command: str
) -> None:
    done = cli.here(*command.split(), DATABASE_URL=database_url)
    done.failed(1, "lacks the migrations 0001-symbols", "Run `assetq migrate`")


def test_a_key_of_another_type_is_named_by_doctor(cli: Cli, r: redis.Redis) -> None:
    r.set(Keys().queue, "somebody else's")
    try:
        cli.here("queue", "stats").failed(1, "holds something else", "assetq doctor")
        report = cli.here("doctor", "--json").json
        (line,) = (c for c in report["checks"] if "is a string, not a zset" in c["text"])
        assert (line["status"], Keys().queue in line["text"]) == ("fail", True)
    finally:
        r.delete(Keys().queue)


def test_an_item_that_another_hand_changed_does_not_break_the_listing(
    cli: Cli, r: redis.Redis
) -> None:
    r.zadd(Keys().delayed, {"ODD": 2e12})
    r.hset(Keys().items, "ODD", "not JSON")
    try:
        assert cli.here("queue", "list").code == 0
    finally:
        r.delete(Keys().delayed, Keys().items)


def test_a_reader_that_leaves_early_is_no_error(cli: Cli) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" symbols list --json | true; "$0" --help | head -1', ASSETQ],
        cwd=cli.cwd,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("Usage: assetq [OPTIONS] COMMAND [ARGS]...\n", "")


def test_a_traceback_only_when_asked_for_and_without_secrets(cli: Cli) -> None:
    done = cli("queue", "stats", REDIS_URL=NOWHERE, ASSETQ_DEBUG="1")
    cli.said.clear()
    assert done.code == 4
    assert "Traceback" in done.err
    assert PASSWORD not in done.err
