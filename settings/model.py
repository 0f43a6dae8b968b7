"""All settings: environment over .env over the YAML file of ASSETQ_CONFIG over the defaults.

Only entry points call `Settings.load()`; everything else is handed what it needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from market.access import checked_base_url, checked_key
from market.plausibility import jumps_of
from market.tickers import AssetKind, check_symbol
from market.tiers import TIERS, Plan, Tier
from settings.database_url import checked_database_url, checked_host, joined
from settings.errors import SettingsError
from settings.problems import problems
from settings.redis_url import checked_redis_url, without_verification
from settings.sources import Sources
from settings.urls import checked_url

__all__ = ["Settings", "SettingsError"]

DEFAULT_BASE_URL = "https://api.massive.com"
SEND_BUDGET_MS = 5_000
GUARD_MS = 100
UNLIMITED_SPACING_MS = 20
SLACK_MS = 15_000
"""What a lease allows for beyond the call itself: the transaction and two trips to Redis."""

WEB_ACTIONS = ("refresh", "dead", "pause", "block", "consume")
"""Everything that may be allowed on the pages."""


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
    priority_assets: Annotated[tuple[str, ...], NoDecode] = ()
    """The assets of the batch in their order; empty: those that are CRITICAL in the database."""
    queue_max_size: int = Field(1000, ge=1, le=1_000_000)
    history_days: int = Field(730, ge=1, le=3650)
    """How far back 5-minute bars are wanted."""
    suspect_forex_percent: float = Field(10, gt=0, le=1000)
    suspect_crypto_percent: float = Field(25, gt=0, le=1000)
    """How far from the stored price one may be that its answer does not support: more than usual
    (2 % in a hard hour of forex, 10 % in a minute of crypto); true ones pass when repeated."""
    retry_max_attempts: int = Field(3, ge=0, le=100)
    retry_delay_seconds: float = Field(60, ge=0, le=86_400)
    aging_seconds: float = Field(1800, ge=0, le=30 * 86_400)
    redis_url_given: Annotated[str, AfterValidator(checked_redis_url)] = Field(
        "redis://127.0.0.1:6379/0", validation_alias="REDIS_URL", repr=False
    )
    redis_tls_verify: bool = True
    database_url_given: Annotated[str, AfterValidator(checked_database_url)] | None = Field(
        None, validation_alias="DATABASE_URL", repr=False
    )
    db_host: Annotated[str, AfterValidator(checked_host)] = "127.0.0.1"
    db_port: int = Field(5432, ge=1, le=65_535)
    db_name: str = "assetq"
    db_user: str = "assetq"
    db_password: SecretStr | None = None
    port: int | None = Field(None, ge=1, le=65_535)
    web_password: SecretStr | None = None
    web_reader_password: SecretStr | None = None
    web_actions: Annotated[tuple[str, ...], NoDecode] = WEB_ACTIONS
    """What the user admin may do on the pages."""
    provider: str = Field("massive", validation_alias="ASSETQ_PROVIDER")

    @classmethod
    def load(
        cls, env: Mapping[str, str] | None = None, *, env_file: str | Path | None = ".env"
    ) -> Self:
        """Reads every source; raises SettingsError naming each value that is wrong.

        `env` stands in for this process' environment. `env_file` None: no such file.
        """
        sources = Sources.read(os.environ if env is None else env, env_file)
        try:
            return cls(**sources.values(cls))
        except ValidationError as error:
            # `from None`: the cause would show the values in a traceback.
            raise SettingsError(problems(error, cls.model_fields, sources)) from None

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
        """YAML's `yes` is not 1."""
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

    @field_validator("web_actions", mode="before")
    @classmethod
    def _actions(cls, value: Any) -> Any:
        names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        if unknown := [name for name in names if name not in (*WEB_ACTIONS, "none")]:
            raise ValueError(
                f"{unknown[0]!r} is none of {', '.join(WEB_ACTIONS)}, or none for no action"
            )
        return tuple(name for name in names if name != "none")

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        return value and checked_key(value)

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        checked_url(value, ("http", "https"))
        return checked_base_url(value)

    @field_validator("provider")
    @classmethod
    def _name(cls, value: str) -> str:
        """It becomes part of the keys and the name of the RQ queue."""
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", value, re.ASCII):
            raise ValueError("must be 1 to 40 letters, digits or one of _ . -")
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
    def queue_is_bounded(self) -> bool:
        """QUEUE_MAX_SIZE is set; else the queue has room for every asset."""
        return "queue_max_size" in self.model_fields_set

    @property
    def bars_follow_clock(self) -> bool:
        """Five-minute bars are fetched as they end: calls are not counted, and the data is live."""
        return self.rate_limit is None and not self.plan.end_of_day

    @property
    def jumps(self) -> Mapping[AssetKind, Decimal]:
        """How far from the stored price one is believed that nothing else supports."""
        return jumps_of(self.suspect_forex_percent, self.suspect_crypto_percent)

    @property
    def spacing_ms(self) -> int:
        """Least time between two calls. Where the provider counts none it still wants fewer than
        100 a second; half of that leaves room for other programs with the same key."""
        given_ms = int(self.rate_min_spacing_seconds * 1000)
        return given_ms if self.rate_limit is not None else max(given_ms, UNLIMITED_SPACING_MS)

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
        """Added to the window for rounding and drift of the provider's clock."""
        return GUARD_MS

    @property
    def lease_ms(self) -> int:
        """How long a lease holds an item: a whole call, and slack."""
        return self.send_budget_ms + int(self.request_timeout_seconds * 1000) + SLACK_MS

    @property
    def redis_url(self) -> str:
        """As given; hosts with self-signed certificates need REDIS_TLS_VERIFY=false."""
        given = self.redis_url_given
        return given if self.redis_tls_verify else without_verification(given)

    @property
    def database_url(self) -> str:
        """DATABASE_URL, or put together from DB_*."""
        return self.database_url_given or joined(
            host=self.db_host,
            port=self.db_port,
            name=self.db_name,
            user=self.db_user,
            password=self.db_password.get_secret_value() if self.db_password else "",
        )

    def required_api_key(self) -> SecretStr:
        """The key; raises SettingsError if there is none."""
        if self.api_key is None:
            raise SettingsError(
                ["MASSIVE_API_KEY: not set. Set it (or POLYGON_API_KEY) to your API key."]
            )
        return self.api_key
