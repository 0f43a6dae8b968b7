"""Settings: where values come from, what they become, and that a mistake is named by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError
from redis import Redis
from rich.pretty import pretty_repr

from market.tiers import Tier
from settings import Settings, SettingsError
from settings.urls import redacted_url

SECRET = "Hunter2-not-to-be-shown"

USERS_ENV = """\
# .env - Data Service Configuration
# Polygon.io API (Massive.com compatible)
POLYGON_API_KEY=a-key-of-the-user
POLYGON_BASE_URL=https://api.polygon.io
POLYGON_RATE_LIMIT=5
POLYGON_TIER=free
# Batch Configuration
BATCH_INTERVAL_MINUTES=5
PRIORITY_ASSETS_ENABLED=true
QUEUE_MAX_SIZE=1000
# Database
DB_HOST=localhost
DB_PORT=5432
DB_NAME=trading_data
DB_USER=trading_user
DB_PASSWORD=a-password-of-the-user
# Redis (for queue and events)
REDIS_URL=redis://localhost:6379/0
"""

USERS_YAML = """\
# config/production.yml
batch:
  interval_minutes: 5
  priority_assets:
    - symbol: XAUUSD
      enabled: true
      priority: 1
    - symbol: EURUSD
      enabled: true
      priority: 2
    - symbol: BTCUSD
      enabled: true
      priority: 3
rate_limiting:
  calls_per_minute: 5
  tier: free
  upgrade_url: https://polygon.io/pricing
queue:
  max_size: 1000
  retry_max_attempts: 3
  retry_delay_seconds: 60
"""


def load(**env: str) -> Settings:
    return Settings.load(env, env_file=None)


def with_yaml(path: Path, text: str, **env: str) -> Settings:
    file = path / "mine.yml"
    file.write_text(text)
    return load(ASSETQ_CONFIG=str(file), **env)


def problems(**env: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(**env)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return caught.value.problems


# --- where values come from


def test_defaults_need_nothing() -> None:
    settings = load()
    assert settings.api_key is None
    assert settings.base_url == "https://api.massive.com"
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.priority_assets == ()
    assert (settings.polygon_tier, settings.rate_limit) == (Tier.FREE, 5)
    assert (settings.window_ms, settings.send_budget_ms, settings.guard_ms) == (60_000, 5_000, 100)
    assert settings.aging_seconds == 1800
    assert settings.provider == "massive"
    assert settings.model_fields_set == set()


def test_the_users_own_env_block_loads_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(USERS_ENV)
    settings = Settings.load({}, env_file=tmp_path / ".env")
    assert settings.required_api_key().get_secret_value() == "a-key-of-the-user"
    assert settings.base_url == "https://api.polygon.io"
    assert settings.rate_limit == 5
    assert settings.redis_url == "redis://localhost:6379/0"
    assert settings.database_url == (
        "postgresql://trading_user:a-password-of-the-user@localhost:5432/trading_data"
    )


def test_the_users_own_production_yml_loads_as_it_stands(tmp_path: Path) -> None:
    settings = with_yaml(tmp_path, USERS_YAML)
    assert settings.batch_interval_minutes == 5
    assert settings.priority_assets == ("XAUUSD", "EURUSD", "BTCUSD")
    assert (settings.queue_max_size, settings.retry_max_attempts) == (1000, 3)


def test_the_shipped_production_yml_says_what_the_defaults_say(project_root: Path) -> None:
    shipped = load(ASSETQ_CONFIG=str(project_root / "config" / "production.yml"))
    assert shipped == load(POLYGON_RATE_LIMIT="5", PRIORITY_ASSETS="XAUUSD,EURUSD,BTCUSD")


def test_environment_over_dotenv_over_yaml_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(
        "batch: {interval_minutes: 7}\n"
        "queue: {max_size: 7, retry_max_attempts: 7}\n"
        "rate_limiting: {tier: starter}\n"
    )
    (tmp_path / ".env").write_text(
        f"ASSETQ_CONFIG={tmp_path / 'c.yml'}\nQUEUE_MAX_SIZE=8\nRETRY_MAX_ATTEMPTS=8\n"
    )
    settings = Settings.load({"RETRY_MAX_ATTEMPTS": "9"}, env_file=tmp_path / ".env")
    assert settings.polygon_tier is Tier.STARTER
    assert settings.batch_interval_minutes == 7
    assert settings.queue_max_size == 8
    assert settings.retry_max_attempts == 9
    assert settings.retry_delay_seconds == 60


def test_an_empty_value_is_not_set(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QUEUE_MAX_SIZE=8\nDATABASE_URL=\nPORT=   \n")
    env = {"QUEUE_MAX_SIZE": "", "MASSIVE_API_KEY": " ", "POLYGON_API_KEY": "k", "REDIS_URL": ""}
    settings = Settings.load(env, env_file=tmp_path / ".env")
    assert settings.queue_max_size == 8
    assert settings.required_api_key().get_secret_value() == "k"
    assert settings.model_fields_set == {"api_key", "queue_max_size"}


def test_massive_api_key_wins_over_polygon_api_key() -> None:
    assert load(POLYGON_API_KEY="p", MASSIVE_API_KEY="m").required_api_key() == (
        load(MASSIVE_API_KEY="m").required_api_key()
    )


@pytest.mark.parametrize("name", ["API_KEY", "BASE_URL", "PROVIDER", "REDIS_URL_GIVEN", "PLAN"])
def test_names_that_belong_to_others_are_not_read(name: str) -> None:
    assert load(**{name: "https://somebody.else"}) == load()


def test_blanks_around_a_value_and_the_case_of_names_do_not_matter() -> None:
    settings = load(polygon_tier=" Starter ", MASSIVE_API_KEY="key\n", DB_PORT=" 5433 ")
    assert settings.polygon_tier is Tier.STARTER
    assert settings.required_api_key().get_secret_value() == "key"
    assert settings.db_port == 5433


def test_the_process_environment_is_what_counts_without_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUEUE_MAX_SIZE", "12")
    (tmp_path / ".env").write_text("RETRY_MAX_ATTEMPTS=4\n")
    settings = Settings.load()
    assert (settings.queue_max_size, settings.retry_max_attempts) == (12, 4)


def test_the_constructor_takes_field_names_and_reads_no_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUEUE_MAX_SIZE", "12")
    given: dict[str, Any] = {"api_key": "k", "redis_url_given": "redis://h:1/0"}
    settings = Settings(**given)
    assert (settings.redis_url, settings.queue_max_size) == ("redis://h:1/0", 1000)
    assert settings.required_api_key().get_secret_value() == "k"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().queue_max_size = 1


# --- what they become


@pytest.mark.parametrize(
    ("env", "limit"),
    [
        ({}, 5),
        ({"POLYGON_TIER": "starter"}, None),
        ({"POLYGON_TIER": "developer"}, None),
        ({"POLYGON_TIER": "advanced", "POLYGON_RATE_LIMIT": "100"}, 100),
        ({"POLYGON_RATE_LIMIT": "3"}, 3),
    ],
)
def test_the_limit_is_the_tiers_unless_one_is_named(
    env: Mapping[str, str], limit: int | None
) -> None:
    assert load(**env).rate_limit == limit


@pytest.mark.parametrize(
    ("tier", "given_s", "spacing_ms"),
    [("starter", "0", 20), ("starter", "0.005", 20), ("starter", "0.3", 300), ("free", "0", 0)],
)
def test_where_calls_are_not_counted_at_most_50_go_in_a_second(
    tier: str, given_s: str, spacing_ms: int
) -> None:
    settings = load(POLYGON_TIER=tier, RATE_MIN_SPACING_SECONDS=given_s)
    assert settings.spacing_ms == spacing_ms


def test_the_send_budget_is_never_longer_than_the_window() -> None:
    settings = load(RATE_WINDOW_SECONDS="2.5")
    assert (settings.window_ms, settings.send_budget_ms) == (2_500, 2_500)


def test_a_lease_outlives_the_longest_call() -> None:
    settings = load(REQUEST_TIMEOUT_SECONDS="15")
    assert settings.lease_ms > settings.send_budget_ms + 15_000


def test_yaml_orders_the_enabled_assets_by_priority(tmp_path: Path) -> None:
    settings = with_yaml(
        tmp_path,
        "batch:\n  priority_assets:\n"
        "    - {symbol: BTCUSD, priority: 3}\n"
        "    - {symbol: EURUSD, enabled: false, priority: 1}\n"
        "    - {symbol: XAUUSD, enabled: true, priority: 2}\n",
    )
    assert settings.priority_assets == ("XAUUSD", "BTCUSD")


def test_yaml_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    assert with_yaml(tmp_path, "") == load()
    assert with_yaml(tmp_path, "batch:\nqueue: {max_size: }\n") == load()


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (
            {"DATABASE_URL": "postgres://u:p%40w@db:5433/n?sslmode=require", "DB_HOST": "x"},
            {"host": "db", "port": "5433", "user": "u", "password": "p@w", "dbname": "n",
             "sslmode": "require"},
        ),
        (
            {"DB_HOST": "db", "DB_USER": "a b", "DB_PASSWORD": "p@:/?#%'\" w", "DB_NAME": "my/db"},
            {"host": "db", "port": "5432", "user": "a b", "password": "p@:/?#%'\" w",
             "dbname": "my/db"},
        ),
        (
            {"DB_HOST": "::1", "DB_PORT": "6000"},
            {"host": "::1", "port": "6000", "user": "assetq", "dbname": "assetq"},
        ),
        (
            {"DB_HOST": "/var/run/postgresql"},
            {"host": "/var/run/postgresql", "port": "5432", "user": "assetq", "dbname": "assetq"},
        ),
        (
            {"DATABASE_URL": "postgresql:///n?host=/run/pg"},
            {"host": "/run/pg", "dbname": "n"},
        ),
        (
            {"DATABASE_URL": "postgresql://a:1,b:2/n"},
            {"host": "a,b", "port": "1,2", "dbname": "n"},
        ),
    ],
)  # fmt: skip
def test_what_postgresql_understands_of_the_database_url(
    env: Mapping[str, str], expected: dict[str, str]
) -> None:
    assert conninfo_to_dict(load(**env).database_url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "rediss://:pw@redis.example:6380",
        "rediss://:pw@redis.example:6380/0?ssl_cert_reqs=required",
    ],
)
def test_a_self_signed_redis_can_be_trusted_on_demand(url: str) -> None:
    assert load(REDIS_URL=url).redis_url == url
    trusting = load(REDIS_URL=url, REDIS_TLS_VERIFY="false").redis_url
    with Redis.from_url(trusting) as client:
        options = client.connection_pool.connection_kwargs
    assert (options["ssl_cert_reqs"], options["ssl_check_hostname"]) == ("none", False)
    assert (options["host"], options["port"], options["password"]) == ("redis.example", 6380, "pw")


def test_without_tls_there_is_nothing_to_verify() -> None:
    settings = load(REDIS_URL="redis://h:1/2", REDIS_TLS_VERIFY="false")
    assert settings.redis_url == "redis://h:1/2"


# --- mistakes


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("POLYGON_TIER", "gold", "POLYGON_TIER='gold': must be one of free, starter, "),
        ("POLYGON_RATE_LIMIT", "0", "POLYGON_RATE_LIMIT='0': must be a whole number from 1 to "),
        ("POLYGON_RATE_LIMIT", "five", "POLYGON_RATE_LIMIT='five': must be a whole number from 1"),
        ("BATCH_INTERVAL_MINUTES", "0", "BATCH_INTERVAL_MINUTES='0': must be a whole number from"),
        ("BATCH_INTERVAL_MINUTES", "1.5", "BATCH_INTERVAL_MINUTES='1.5': must be a whole number"),
        ("REQUEST_TIMEOUT_SECONDS", "0", "REQUEST_TIMEOUT_SECONDS='0': must be a number above 0 "),
        ("RATE_WINDOW_SECONDS", "nan", "RATE_WINDOW_SECONDS='nan': must be a number from 0.01 to"),
        ("RETRY_DELAY_SECONDS", "inf", "RETRY_DELAY_SECONDS='inf': must be a number from 0 to "),
        ("PRIORITY_ASSETS_ENABLED", "perhaps", "PRIORITY_ASSETS_ENABLED='perhaps': must be true "),
        ("PRIORITY_ASSETS", "XAUUSD,xau usd", "PRIORITY_ASSETS='XAUUSD,xau usd': 'xau usd' is not"),
        ("PRIORITY_ASSETS", "A,B,A", "PRIORITY_ASSETS='A,B,A': A is listed twice."),
        ("PORT", "70000", "PORT='70000': must be a whole number from 1 to 65535."),
        ("ASSETQ_PROVIDER", "a{b}", "ASSETQ_PROVIDER='a{b}': must be 1 to 40 letters, digits"),
        ("POLYGON_BASE_URL", "api.massive.com", "POLYGON_BASE_URL=api.massive.com: must be a URL"),
        ("POLYGON_BASE_URL", "https://", "POLYGON_BASE_URL=https://: must be a URL such as"),
        ("POLYGON_BASE_URL", "https://h?apiKey=k", "POLYGON_BASE_URL=https://h?apiKey=***: must"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL=localhost:6379: must be a URL such as redis://"),
        ("REDIS_URL", "http://h:1", "REDIS_URL=http://h:1: must be a URL such as redis://host"),
        ("REDIS_URL", "redis://h:1/zero", "REDIS_URL=redis://h:1/zero: must end with the number"),
        ("REDIS_URL", "redis://h:port/0", "REDIS_URL=redis://h:port/0: must be a URL such as"),
        ("REDIS_URL", "redis:///0", "REDIS_URL=redis:///0: must be a URL such as redis://host"),
        ("DATABASE_URL", "mysql://h/d", "DATABASE_URL=mysql://h/d: must be a URL such as postgres"),
        ("DATABASE_URL", "postgres:///d", "DATABASE_URL=postgres:///d: must be a URL such as"),
        ("DB_HOST", "h:5433", "DB_HOST='h:5433': must be a host name, an address or a socket's"),
        ("DB_PORT", "x", "DB_PORT='x': must be a whole number from 1 to 65535."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_with_name_value_and_remedy(
    name: str, value: str, told: str
) -> None:
    lines = problems(**{name: value})
    assert len(lines) == 1
    assert lines[0].startswith(told)
    assert lines[0].endswith(".")
    assert "\n" not in lines[0]


@pytest.mark.parametrize("name", ["DB_PORT", "POLYGON_TIER", "PORT", "QUEUE_MAX_SIZE", "DB_HOST"])
@pytest.mark.parametrize("login", ["u:pass", ":pa/ss", "u:p?as@s"])
def test_a_url_in_the_wrong_place_is_shown_without_its_login(name: str, login: str) -> None:
    (line,) = problems(**{name: f"redis://{login}@127.0.0.1:1/0"})
    assert line.startswith(f"{name}=redis://***@127.0.0.1:1/0: ")


def test_every_problem_is_told_at_once_and_under_the_name_that_was_used() -> None:
    lines = problems(POLYGON_API_KEY="two words", queue_max_size="-1", DB_PORT="0")
    assert [line.partition("=")[0].partition(":")[0] for line in lines] == [
        "POLYGON_API_KEY",
        "queue_max_size",
        "DB_PORT",
    ]


def test_values_that_do_not_fit_together() -> None:
    (line,) = problems(RATE_WINDOW_SECONDS="10", RATE_MIN_SPACING_SECONDS="20")
    assert line == ("RATE_MIN_SPACING_SECONDS: must not be longer than RATE_WINDOW_SECONDS (10).")


def test_a_missing_key_is_told_where_it_is_needed() -> None:
    with pytest.raises(SettingsError, match=r"MASSIVE_API_KEY: not set. Set it \(or POLYGON_API"):
        load().required_api_key()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("batch: [", "ASSETQ_CONFIG={file}: not valid YAML: "),
        ("just words", "{file}: must hold the sections batch, queue, rate_limiting."),
        ("batch: 5", "{file}: must hold the sections"),
        ("queue: {max_sise: 5}", "{file}: queue.max_sise: unknown. queue may hold max_size, "),
        ("que: {max_size: 5}", "{file}: que.max_size: unknown. The sections are batch, rate_"),
        ("queue: {max_size: 0}", "{file}: queue.max_size=0: must be a whole number from 1 to "),
        ("queue: {max_size: yes}", "{file}: queue.max_size=True: must be a whole number from"),
        ("queue: {max_size: [1]}", "{file}: queue.max_size=[1]: must be a whole number from"),
        ("rate_limiting: {tier: gold}", "{file}: rate_limiting.tier='gold': must be one of free, "),
        ("batch: {interval_minutes: 0.5}", "{file}: batch.interval_minutes=0.5: must be a whole"),
        ("batch: {priority_assets: XAUUSD}", "{file}: batch.priority_assets: must be a list of"),
        ("batch: {priority_assets: [{enabled: true}]}", "{file}: batch.priority_assets: entry 1:"),
        (
            "batch: {priority_assets: [{symbol: A, priority: HIGH}]}",
            "{file}: batch.priority_assets: entry 1: priority 'HIGH': a whole number from 1.",
        ),
        (
            "batch: {priority_assets: [{symbol: A, enabled: 'no'}]}",
            "{file}: batch.priority_assets: entry 1: enabled 'no': true or false.",
        ),
        ("batch: {priority_assets: [{symbol: a b}]}", "{file}: batch.priority_assets=('a b',): "),
    ],
)  # fmt: skip
def test_a_mistake_in_yaml_is_named_with_its_path(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        with_yaml(tmp_path, text)
    (line,) = caught.value.problems
    assert line.startswith(told.format(file=tmp_path / "mine.yml"))
    assert "\n" not in line


def test_a_wrong_value_in_yaml_that_the_environment_replaces_does_not_matter(
    tmp_path: Path,
) -> None:
    assert with_yaml(tmp_path, "queue: {max_size: 0}", QUEUE_MAX_SIZE="3").queue_max_size == 3


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (line,) = problems(ASSETQ_CONFIG=str(tmp_path / "none.yml"))
    assert line.endswith("none.yml: cannot be read: No such file or directory. Correct the path.")
    (tmp_path / "bad").write_bytes(b"\xff\xfe\x00")
    (line,) = problems(ASSETQ_CONFIG=str(tmp_path / "bad"))
    assert line.endswith("bad: is not UTF-8 text.")
    with pytest.raises(SettingsError, match=r"bad: is not UTF-8 text\."):
        Settings.load({}, env_file=tmp_path / "bad")


# --- secrets


@pytest.mark.parametrize(
    "env",
    [
        {"MASSIVE_API_KEY": f"{SECRET} x"},
        {"REDIS_URL": f"redis://:{SECRET}@h:port/0"},
        {"REDIS_URL": f"redis://:{SECRET}/@h/0"},
        {"REDIS_URL": f"redis://u:1/{SECRET}@h:1/0"},
        {"REDIS_URL": f"redis://:{SECRET}?x@h:1/0"},
        {"REDIS_URL": f"redis://:a@{SECRET}@h:1/0"},
        {"REDIS_URL": f":{SECRET}@h:1"},
        {"REDIS_URL": f"redis://h:1/x?password={SECRET}"},
        {"DATABASE_URL": f"postgres://u:{SECRET}@h:port/d"},
        {"DATABASE_URL": f"postgres://u:#{SECRET}@h/d"},
        {"DATABASE_URL": f"mysql://u:{SECRET}@h/d"},
        {"POLYGON_BASE_URL": f"https://u:{SECRET}@h"},
        {"POLYGON_BASE_URL": f"https://h/?apiKey={SECRET}"},
    ],
)
def test_no_secret_in_an_error(env: Mapping[str, str]) -> None:
    lines = problems(**env)
    assert len(lines) == 1
    assert SECRET not in lines[0]


def test_no_secret_in_an_error_about_yaml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        with_yaml(tmp_path, f"batch:\n  password: '{SECRET}\n")
    assert SECRET not in str(caught.value)


def test_no_secret_in_the_texts_of_settings() -> None:
    settings = load(
        MASSIVE_API_KEY=SECRET,
        REDIS_URL=f"redis://:{SECRET}@h:1/0",
        DATABASE_URL=f"postgres://u:{SECRET}@h/d",
        DB_PASSWORD=SECRET,
        WEB_PASSWORD=SECRET,
    )
    assert SECRET not in f"{settings} {settings!r} {pretty_repr(settings)}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:pw@h:1/0", "redis://***@h:1/0"),
        ("postgresql://u:p@w@h/d?sslmode=require", "postgresql://***@h/d?sslmode=require"),
        ("postgresql://u:p/w@h/d", "postgresql://***@h/d"),
        ("redis://u:p?w@h/0", "redis://***@h/0"),
        ("redis://h/0?password=pw&db=1", "redis://h/0?password=***&db=1"),
        ("https://h/v3?apiKey=k", "https://h/v3?apiKey=***"),
        ("u:p@h", "***"),
    ],
)
def test_urls_for_people(url: str, shown: str) -> None:
    assert redacted_url(url) == shown
