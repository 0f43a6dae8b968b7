"""The plans an API key can have, as data, and what each refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SandboxPlan:
    """What a key may do. `limit` is calls per window, None for no limit; `history_days` is how far
    back aggregates reach."""

    name: str
    summary: str
    limit: int | None
    single_snapshots: bool
    all_snapshots: bool  # /v3/snapshot and the whole-market ones
    end_of_day: bool
    history_days: int

    @property
    def aggregates_status(self) -> str:
        """The word that answers with bars carry."""
        return "DELAYED" if self.end_of_day else "OK"


PLANS: Final = {
    plan.name: plan
    for plan in (
        SandboxPlan(
            name="spec",
            summary="the user's document taken at its word: 5 calls a minute, single snapshots",
            limit=5,
            single_snapshots=True,
            all_snapshots=False,
            end_of_day=False,
            history_days=730,
        ),
        SandboxPlan(
            name="free",
            summary="as the provider's free plan is: no snapshots, data of completed days only",
            limit=5,
            single_snapshots=False,
            all_snapshots=False,
            end_of_day=True,
            history_days=730,
        ),
        SandboxPlan(
            name="starter",
            summary="a paid plan: everything, in real time, without a limit",
            limit=None,
            single_snapshots=True,
            all_snapshots=True,
            end_of_day=False,
            history_days=3653,
        ),
    )
}
