"""All settings: environment over .env over the YAML file of ASSETQ_CONFIG over the defaults.

Only entry points call `Settings.load()`; everything else is handed what it needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

import yaml
from annotated_types import Ge, Gt, Le
from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
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
    """The settings make no sense; one line per problem, and never a secret in it."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class SentinelUrl:
    """redis+sentinel://user:password@host:port,host:port/service/db: the master of a service.

    User and password are the server's; the sentinels are asked without.
    """

    SCHEME: ClassVar = "redis+sentinel://"
    _FORM: ClassVar = re.compile(
        r"redis\+sentinel://(?:(?P<user>[^:@/]*):(?P<password>[^@/]*)@)?"
        r"(?P<hosts>[^@/?#\s]+)/(?P<service>[\w.-]+)(?:/(?P<db>\d{1,5}))?/?"
    )

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    user: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """None for anything else."""
        form = cls._FORM.fullmatch(url)
        if form is None:
            return None
        each = form["hosts"].split(",")
        places = [re.fullmatch(r"(.+?)(?::(\d{1,5}))?", place) for place in each]
        hosts = tuple((place[1], int(place[2] or 26379)) for place in places if place)
        if len(hosts) != len(places):
            return None
        user, password = unquote(form["user"] or ""), unquote(form["password"] or "")
        return cls(hosts, form["service"], int(form["db"] or 0), user or None, password or None)


class Settings(BaseSettings):
    """Field names are the environment's, in lower case. An empty value means "not set".

    Made by `load`; the constructor takes values by field name and reads no environment.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("MASSIVE_API_KEY", "POLYGON_API_KEY")
    )
    base_url: str = Field(DEFAULT_BASE_URL, validation_alias="POLYGON_BASE_URL")
    polygon_tier: Tier = Tier.FREE
    polygon_rate_limit: int | None = Field(None, ge=1, le=100_000)
    rate_window_seconds: float = Field(60, ge=0.01, le=3600)
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
    redis_url_given: str = Field(
        "redis://127.0.0.1:6379/0", validation_alias="REDIS_URL", repr=False
    )
    redis_tls_verify: bool = True
    database_url_given: str | None = Field(None, validation_alias="DATABASE_URL", repr=False)
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
    def load(
        cls, env: Mapping[str, str] | None = None, *, env_file: str | Path | None = ".env"
    ) -> Self:
        """Reads everything; raises SettingsError naming each value that is wrong.

        `env` stands in for this process' environment. `env_file` None: no such file.
        """
        given = _read_dotenv(env_file) | _stated(os.environ if env is None else env)
        source = _Environment(cls, given)
        path = given.get("ASSETQ_CONFIG")
        from_yaml = read_yaml(Path(path)) if path else {}
        try:
            return cls(**{field: value for field, (_, value) in from_yaml.items()} | source())
        except ValidationError as error:
            # `from None`: the cause would show the values in a traceback.
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
        """Only what the constructor is given: `load` has put the sources in order."""
        return (init_settings,)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's `yes` is no 1."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("true or false makes no sense here")
        return value

    @field_validator("polygon_tier", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("priority_assets", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        symbols = [check_symbol(name) for name in names if name]
        if twice := sorted({name for name in symbols if symbols.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is listed twice")
        return tuple(symbols)

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError(
                "holds a space, a line break or a character outside ASCII; copy the key once more"
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = _checked_url(value, ("http", "https"))
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                f"must be an address without user, key or query, such as {DEFAULT_BASE_URL}"
            )
        return value.rstrip("/")

    @field_validator("redis_url_given")
    @classmethod
    def _redis(cls, value: str) -> str:
        if value.startswith("unix://") and "/" in value.removeprefix("unix://"):
            return value
        if value.startswith(SentinelUrl.SCHEME):
            if SentinelUrl.parse(value) is None:
                raise ValueError(
                    "must name sentinels, the service and the number of a database, such as "
                    f"{SentinelUrl.SCHEME}host:26379,host:26379/mymaster/0"
                )
            return value
        parts = _checked_url(value, ("redis", "rediss"))
        if not re.fullmatch(r"/?\d*", parts.path):  # redis-py would silently take database 0
            raise ValueError("must end with the number of a database, such as redis://host:6379/0")
        return value

    @field_validator("database_url_given")
    @classmethod
    def _postgres(cls, value: str | None) -> str | None:
        if value is None:
            return None
        _checked_url(value, ("postgresql", "postgres"))
        return "postgresql://" + value.partition("://")[2]

    @field_validator("db_host")
    @classmethod
    def _host(cls, value: str) -> str:
        if value.startswith("/"):  # the directory of a socket
            return value
        try:
            return str(IPv6Address(value.removeprefix("[").removesuffix("]")))
        except ValueError:
            if not re.fullmatch(r"[^\s/:@?#]+", value):
                raise ValueError(
                    "must be a host name, an address or a socket's directory; the port is DB_PORT"
                ) from None
            return value

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
        return round(self.rate_window_seconds * 1000)

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
        place, _, query = url.partition("?")
        ours = {"ssl_cert_reqs": "none", "ssl_check_hostname": "false"}
        return f"{place}?{urlencode(dict(parse_qsl(query)) | ours)}"

    @property
    def database_url(self) -> str:
        """DATABASE_URL, or put together from DB_*."""
        if self.database_url_given:
            return self.database_url_given
        password = self.db_password.get_secret_value() if self.db_password else ""
        login = quote(self.db_user, safe="") + (f":{quote(password, safe='')}" if password else "")
        host = f"[{self.db_host}]" if ":" in self.db_host else quote(self.db_host, safe="")
        return f"postgresql://{login}@{host}:{self.db_port}/{quote(self.db_name, safe='')}"

    def required_api_key(self) -> SecretStr:
        """The key; raises SettingsError if there is none."""
        if self.api_key is None:
            raise SettingsError(
                ["MASSIVE_API_KEY: not set. Set it (or POLYGON_API_KEY) to your API key."]
            )
        return self.api_key


class _Environment(EnvSettingsSource):
    """pydantic-settings' reading of names and cases, from a mapping of ours.

    Only our own names: fields go by their names too, and API_KEY or PROVIDER are somebody else's.
    """

    def __init__(self, settings: type[BaseSettings], given: Mapping[str, str]) -> None:
        self._given = given
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        ours = {name for field in Settings.model_fields for name in _variables(field)}
        given = self._given.items()
        return {name.lower(): value for name, value in given if name.upper() in ours}


def _stated(values: Mapping[str, str | None]) -> dict[str, str]:
    """Without what is empty: that means "not set". Blanks around a value are nobody's intent."""
    stripped = {name: (value or "").strip() for name, value in values.items()}
    return {name: value for name, value in stripped.items() if value}


def _read_dotenv(path: str | Path | None) -> dict[str, str]:
    if path is None or not Path(path).is_file():
        return {}
    try:
        return _stated(dotenv_values(path, encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{path}: is not UTF-8 text."]) from None


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
        raw = parse_yaml(path.read_text("utf-8-sig")) or {}
    except OSError as error:
        raise SettingsError(
            [f"ASSETQ_CONFIG={path}: cannot be read: {error.strerror}. Correct the path."]
        ) from None
    except UnicodeDecodeError:
        raise SettingsError([f"ASSETQ_CONFIG={path}: is not UTF-8 text."]) from None
    except yaml.YAMLError as error:
        raise SettingsError([f"ASSETQ_CONFIG={path}: not valid YAML: {_where(error)}."]) from None
    if isinstance(raw, dict):  # a section without content is one that says nothing
        raw = {section: {} if values is None else values for section, values in raw.items()}
    if not isinstance(raw, dict) or not all(isinstance(v, dict) for v in raw.values()):
        sections = ", ".join(sorted({section for section, _ in _YAML_FIELDS}))
        raise SettingsError([f"{path}: must hold the sections {sections}."])
    found: dict[str, tuple[str, Any]] = {}
    problems = []
    for section, values in raw.items():
        for key, value in values.items():
            where = f"{section}.{key}"
            if (section, key) not in _YAML_FIELDS:
                problems.append(f"{path}: {where}: unknown. {_known_keys(section)}")
            elif value is not None and (field := _YAML_FIELDS[section, key]):
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


def parse_yaml(text: str) -> Any:
    """What plain YAML holds; yaml.YAMLError for all else. PyYAML's own constructors let other
    errors out, for `!!int x` or the 45th of a month."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="nested too deeply") from None
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        raise yaml.MarkedYAMLError(problem="a value that is not what it claims to be") from None


def _known_keys(section: object) -> str:
    keys = [key for known, key in _YAML_FIELDS if known == section]
    if keys:
        return f"{section} may hold {', '.join(keys)}."
    return f"The sections are {', '.join(dict.fromkeys(s for s, _ in _YAML_FIELDS))}."


def _where(error: yaml.YAMLError) -> str:
    """The place, without the line itself: somebody may have put a password there."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    return f"{problem}, in line {mark.line + 1}" if mark else str(problem)


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
    """The URL for people: user, password and secret options are masked, also in a broken one."""
    scheme, found, rest = url.partition("://")
    if not found:
        return "***" if "@" in url else url
    place, mark, query = rest.partition("?")
    if "@" in query:  # a question mark in the password: everything up to the last @ is login
        place, mark, query = rest, "", ""
    if "@" in place:
        place = "***@" + place.rpartition("@")[2]
    return f"{scheme}://{place}{mark}" + _SECRET_OPTION.sub(r"\1=***", query)


_SECRET_OPTION = re.compile(r"(?i)([a-z_-]*(?:pass|secret|key|token)[a-z_-]*)=[^&#]*")


def _checked_url(value: str, schemes: tuple[str, ...]) -> SplitResult:
    """Parts of a URL with host. A password that is not quoted tears it, and is told as such."""
    example = f"must be a URL such as {schemes[0]}://host:port/…"
    scheme, _, rest = value.partition("://")
    if scheme not in schemes:
        raise ValueError(example)
    if rest.count("@") > 1 or re.search(r"[/?#].*@|\s", rest):
        raise ValueError(f"cannot be read: {_QUOTING}")
    try:
        parts = urlsplit(value)
        # PostgreSQL's may name several places.
        places = [urlsplit(f"//{p}") for p in parts.netloc.rpartition("@")[2].split(",")]
        named = all(place.hostname and place.port != 0 for place in places)
    except ValueError:
        raise ValueError(f"{example}, with a number as port; {_QUOTING}") from None
    if not named and "host" not in dict(parse_qsl(parts.query)):  # an option may name a socket
        raise ValueError(f"{example}, with a host and a port above 0")
    return parts


_QUOTING = "write @ : / ? # % of a password as %40 %3A %2F %3F %23 %25"
_SECRET = {"api_key", "db_password", "web_password"}
_URLS = {"base_url", "redis_url_given", "database_url_given"}


def _problems(
    error: ValidationError, from_yaml: Mapping[str, tuple[str, Any]], given: Mapping[str, str]
) -> list[str]:
    """One line per problem: the name as the user wrote it, the value, what is allowed."""
    written = {name.upper(): name for name in given}
    field_of = {name: field for field in Settings.model_fields for name in _variables(field)}
    lines = []
    for problem in error.errors(include_url=False):
        place = str(problem["loc"][0]) if problem["loc"] else ""
        message = problem["msg"].removeprefix("Value error, ").rstrip(".")
        if not place:
            lines.append(f"{message}.")
            continue
        field = field_of.get(place.upper(), place)
        name = next((written[v] for v in _variables(field) if v in written), None)
        if name is None and field in from_yaml:
            name = from_yaml[field][0]
        allowed = _allowed(Settings.model_fields[field]) or message
        lines.append(f"{name or place}{_shown(field, problem['input'])}: {_lower(allowed)}.")
    return lines


def _variables(field: str) -> tuple[str, ...]:
    """The environment's names for a field, the first one wins."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (str(alias or field).upper(),)


def _shown(field: str, value: Any) -> str:
    if field in _SECRET:
        return ""
    text = redacted_url(str(value)) if field in _URLS else repr(value)
    return f"={text}" if len(text) <= _LONGEST_SHOWN else f"={text[:_LONGEST_SHOWN]}…"


_LONGEST_SHOWN = 80


def _allowed(info: FieldInfo) -> str | None:
    """What a number or a switch may be; None for texts, whose validators say it."""
    kinds = {info.annotation, *getattr(info.annotation, "__args__", ())}
    if bool in kinds:
        return "must be true or false"
    if not kinds & {int, float}:
        return None
    what = "a whole number" if int in kinds else "a number"
    low, high = "", ""
    for limit in info.metadata:
        if isinstance(limit, Le):
            high = f" to {limit.le}"
        elif isinstance(limit, Ge | Gt):
            low = f" from {limit.ge}" if isinstance(limit, Ge) else f" above {limit.gt}"
    return f"must be {what}{low}{high}"


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
