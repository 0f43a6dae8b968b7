"""The provider's plans as data. What a key may really do is learned from the answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Tier(StrEnum):
    """Names of plans, as `POLYGON_TIER` spells them."""

    FREE = "free"
    STARTER = "starter"
    DEVELOPER = "developer"
    ADVANCED = "advanced"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan promises. `calls_per_window` is None where the provider sets no limit.

    `delay_minutes` is the delay that the plan is sold with. Where `end_of_day` is set that is the
    smaller trouble: nothing newer than the last completed day can be had."""

    tier: Tier
    calls_per_window: int | None
    delay_minutes: int
    websocket: bool
    end_of_day: bool


TIERS: Final = MappingProxyType(
    {
        plan.tier: plan
        for plan in (
            Plan(Tier.FREE, calls_per_window=5, delay_minutes=15, websocket=False, end_of_day=True),
            Plan(Tier.STARTER, None, delay_minutes=0, websocket=False, end_of_day=False),
            Plan(Tier.DEVELOPER, None, delay_minutes=0, websocket=True, end_of_day=False),
            Plan(Tier.ADVANCED, None, delay_minutes=0, websocket=True, end_of_day=False),
        )
    }
)
