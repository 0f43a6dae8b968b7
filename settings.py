"""All settings: environment over .env over the YAML file of ASSETQ_CONFIG over the defaults.

Only entry points call `Settings.load()`; everything else is handed what it needs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import yaml
from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from market.tickers import check_symbol
from market.tiers import TIERS, Plan, Tier

DEFAULT_BASE_URL = "https://api.massive.com"
SEND_BUDGET_MS = 5_000
GUARD_MS = 100
SLACK_MS = 15_000
"""What a lease allows for beyond the call itself: the transaction and two trips to Redis."""


class SettingsError(Exception):
    """The settings make no sense; one line per problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Settings(BaseSettings):
    """Field names are the environment's, in lower case. An empty value means "not set"."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("MASSIVE_API_KEY", "POLYGON_API_KEY")
    )
    base_url: str = Field(DEFAULT_BASE_URL, validation_alias="POLYGON_BASE_URL")
    polygon_tier: Tier = Tier.FREE
    polygon_rate_limit: int | None = Field(None, ge=1, le=100_000)
    rate_window_seconds: float = Field(60, gt=0, le=3600)
    rate_min_spacing_seconds: float = Field(0, ge=0, le=60)
    batch_start_tolerance_seconds: float = Field(5, ge=0, le=60)
    request_timeout_seconds: float = Field(10, gt=0, le=15)
    batch_interval_minutes: int = Field(5, ge=1, le=1440)
    secondary_interval_minutes: int = Field(30, ge=1, le=1440)
    priority_assets_enabled: bool = True
    priority_assets: Annotated[tuple[str, ...], NoDecode] = ("XAUUSD", "EURUSD", "BTCUSD")
    queue_max_size: int = Field(1000, ge=1, le=1_000_000)
    retry_max_attempts: int = Field(3, ge=0, le=100)
    retry_delay_seconds: float = Field(60, ge=0, le=86_400)
    aging_seconds: float = Field(1800, ge=0, le=30 * 86_400)
    redis_url_given: str = Field("redis://127.0.0.1:6379/0", validation_alias="REDIS_URL")
    redis_tls_verify: bool = True
    database_url_given: str | None = Field(None, validation_alias="DATABASE_URL")
    db_host: str = "127.0.0.1"
    db_port: int = Field(5432, ge=1, le=65_535)
    db_name: str = "assetq"
    db_user: str = "assetq"
    db_password: SecretStr | None = None
    port: int | None = Field(None, ge=1, le=65_535)
    web_password: SecretStr | None = None
    provider: str = Field(
        "massive", validation_alias="ASSETQ_PROVIDER", pattern=r"^[A-Za-z0-9_.-]{1,40}$"
    )

    @classmethod
    def load(cls, env_file: str | Path = ".env") -> Self:
        """Reads everything; raises SettingsError naming each variable that is wrong."""
        dotenv = dotenv_values(env_file) if Path(env_file).is_file() else {}
        path = os.environ.get("ASSETQ_CONFIG") or dotenv.get("ASSETQ_CONFIG")
        from_yaml = read_yaml(Path(path)) if path else {}
        given = {name for name, value in {**dotenv, **os.environ}.items() if value}
        try:
            return cls(
                _env_file=env_file,  # type: ignore[call-arg]  # pydantic-settings adds it
                **{key: value for key, (_, value) in from_yaml.items()},
            )
        except ValidationError as error:
            raise SettingsError(_problems(error, from_yaml, given)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins; what `load` read from YAML comes last."""
        return env_settings, dotenv_settings, init_settings

    @field_validator("polygon_tier", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("priority_assets", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        return tuple(check_symbol(name) for name in names if name)

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        return _checked_url(value, ("http", "https")).rstrip("/")

    @field_validator("redis_url_given")
    @classmethod
    def _redis(cls, value: str) -> str:
        if value.startswith("unix://"):
            return value
        return _checked_url(value, ("redis", "rediss"))

    @field_validator("database_url_given")
    @classmethod
    def _postgres(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = _checked_url(value, ("postgres", "postgresql"))
        return "postgresql://" + url.partition("://")[2]

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.rate_min_spacing_seconds > self.rate_window_seconds:
            raise ValueError(
                "RATE_MIN_SPACING_SECONDS: must not be longer than RATE_WINDOW_SECONDS "
                f"({self.rate_window_seconds:g})"
            )
        return self

    @property
    def plan(self) -> Plan:
        """What the tier promises."""
        return TIERS[self.polygon_tier]

    @property
    def rate_limit(self) -> int | None:
        """Calls per window; None: no limit."""
        return self.polygon_rate_limit or self.plan.calls_per_window

    @property
    def window_ms(self) -> int:
        """The quota's window."""
        return int(self.rate_window_seconds * 1000)

    @property
    def send_budget_ms(self) -> int:
        """How long after its grant a call may still be sent."""
        return min(SEND_BUDGET_MS, self.window_ms)

    @property
    def guard_ms(self) -> int:
        """Floors of milliseconds and drift of the provider's clock."""
        return GUARD_MS

    @property
    def lease_ms(self) -> int:
        """How long a claimed item is its claimant's: a whole call, and slack."""
        return self.send_budget_ms + int(self.request_timeout_seconds * 1000) + SLACK_MS

    @property
    def redis_url(self) -> str:
        """As given; hosts with self-signed certificates need REDIS_TLS_VERIFY=false."""
        url = self.redis_url_given
        if not url.startswith("rediss://") or self.redis_tls_verify:
            return url
        return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=none&ssl_check_hostname=false"

    @property
    def database_url(self) -> str:
        """DATABASE_URL, or put together from DB_*."""
        if self.database_url_given:
            return self.database_url_given
        password = self.db_password.get_secret_value() if self.db_password else ""
        login = quote(self.db_user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return f"postgresql://{login}@{self.db_host}:{self.db_port}/{quote(self.db_name, safe='')}"

    def required_api_key(self) -> SecretStr:
        """The key; raises SettingsError if there is none."""
        if self.api_key is None:
            raise SettingsError(
                ["MASSIVE_API_KEY: not set. Set it (or POLYGON_API_KEY) to your API key."]
            )
        return self.api_key

    def __repr__(self) -> str:
        hidden = {"redis_url_given", "database_url_given"}
        shown = {k: v for k, v in self.__dict__.items() if k not in hidden}
        return f"Settings({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    __str__ = __repr__


_YAML_FIELDS = {
    ("batch", "interval_minutes"): "batch_interval_minutes",
    ("batch", "priority_assets"): "priority_assets",
    ("rate_limiting", "calls_per_minute"): "polygon_rate_limit",
    ("rate_limiting", "tier"): "polygon_tier",
    ("rate_limiting", "upgrade_url"): None,  # known, and of no consequence
    ("queue", "max_size"): "queue_max_size",
    ("queue", "retry_max_attempts"): "retry_max_attempts",
    ("queue", "retry_delay_seconds"): "retry_delay_seconds",
}


def read_yaml(path: Path) -> dict[str, tuple[str, Any]]:
    """field → (path in the file, value). Raises SettingsError for what it does not know."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError as error:
        raise SettingsError([f"ASSETQ_CONFIG={path}: {error.strerror}."]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError([f"ASSETQ_CONFIG={path}: not valid YAML: {reason}"]) from None
    if not isinstance(raw, dict) or not all(isinstance(v, dict) for v in raw.values()):
        sections = ", ".join(sorted({section for section, _ in _YAML_FIELDS}))
        raise SettingsError([f"{path}: must hold the sections {sections}."])
    found: dict[str, tuple[str, Any]] = {}
    problems = []
    for section, values in raw.items():
        for key, value in values.items():
            where = f"{section}.{key}"
            if (section, key) not in _YAML_FIELDS:
                known = ", ".join(f"{s}.{k}" for s, k in _YAML_FIELDS)
                problems.append(f"{path}: {where}: unknown. Known are {known}.")
            elif field := _YAML_FIELDS[section, key]:
                try:
                    found[field] = (
                        f"{path}: {where}",
                        _priority_assets(value) if field == "priority_assets" else value,
                    )
                except ValueError as error:
                    problems.append(f"{path}: {where}: {error}")
    if problems:
        raise SettingsError(problems)
    return found


def _priority_assets(rows: Any) -> tuple[str, ...]:
    """The enabled ones, in the order of their priority."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("must be a list of {symbol, enabled, priority}.")
    order = []
    for number, row in enumerate(rows, 1):
        unknown = set(row) - {"symbol", "enabled", "priority"}
        priority = row.get("priority", number)
        if unknown or not isinstance(row.get("symbol"), str):
            raise ValueError(f"entry {number}: needs symbol, and may have enabled and priority.")
        if isinstance(priority, bool) or not isinstance(priority, int) or priority < 1:
            raise ValueError(f"entry {number}: priority {priority!r}: a whole number from 1.")
        if not isinstance(row.get("enabled", True), bool):
            raise ValueError(  # noqa: TRY004 - a ValueError becomes a line for the user
                f"entry {number}: enabled {row['enabled']!r}: true or false."
            )
        if row.get("enabled", True):
            order.append((priority, row["symbol"]))
    return tuple(symbol for _, symbol in sorted(order, key=lambda pair: pair[0]))


def redacted_url(url: str) -> str:
    """The URL without user and password, for people."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def _checked_url(value: str, schemes: tuple[str, ...]) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in schemes and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"must be a URL such as {schemes[0]}://host:port/…")
    return value


_SECRET = {"api_key", "db_password", "web_password", "redis_url_given", "database_url_given"}


def _problems(
    error: ValidationError, from_yaml: Mapping[str, tuple[str, Any]], given: set[str]
) -> list[str]:
    """One line per problem: the name as the user wrote it, the value, what is allowed."""
    names: dict[str, tuple[str, ...]] = {}
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or field.upper()]
        names[field] = tuple(str(choice) for choice in choices)
    upper_given = {name.upper() for name in given}
    lines = []
    for problem in error.errors(include_url=False):
        place = str(problem["loc"][0]) if problem["loc"] else ""
        field = next((f for f, a in names.items() if place.upper() in (f.upper(), *a)), place)
        message = problem["msg"].removeprefix("Value error, ")
        if not field:
            lines.append(message)
            continue
        variables = names.get(field, (field.upper(),))
        name = next((v for v in variables if v in upper_given), variables[0])
        if field in from_yaml and name not in upper_given:
            name = from_yaml[field][0]
        value = "" if field in _SECRET else f"={problem['input']!r}"
        lines.append(f"{name}{value}: {message[0].lower()}{message[1:]}.".replace("..", "."))
    return lines
