"""The verdict of `assetq simulate`: what a plan is worth for a load."""

from __future__ import annotations

import pytest

from local.verdict import Load, judge, sentence
from market.tiers import Tier


def load(forex: int, crypto: int = 0, *, days: int = 730) -> Load:
    tickers = [f"C:FX{n:04}" for n in range(forex)] + [f"X:CR{n:04}" for n in range(crypto)]
    bands = {1: 3, 4: len(tickers) - 3}
    return Load("some assets", tickers, bands, {1: 300, 4: 1800}, dict.fromkeys(tickers, days))


def told(load: Load, tier: Tier = Tier.FREE) -> str:
    tiers = list(Tier)[list(Tier).index(tier) :]
    first, *others = (judge(load, one) for one in tiers)
    return sentence(load, first, others)


def test_the_sentence_for_the_catalogue_on_the_free_plan() -> None:
    assert told(load(71, 24)) == (
        "Free gives prices of yesterday; history whole in 5.8 h (1,664 calls); Starter makes 95 "
        "assets live with 1 call per round; Developer adds streaming, which assetq does not use."
    )


def test_a_paid_plan_is_told_by_what_it_does() -> None:
    assert told(load(300, 300, days=0), Tier.STARTER) == (
        "Starter keeps 600 assets live with 2 calls per round; history is whole; Developer adds "
        "streaming, which assetq does not use."
    )
    assert told(load(10, days=1), Tier.ADVANCED) == (
        "Advanced keeps 10 assets live with 1 call per round; history whole in 1 min (10 calls)."
    )


@pytest.mark.parametrize(
    ("assets", "tier", "calls"),
    [(250, Tier.STARTER, 1), (251, Tier.STARTER, 1), (5_000, Tier.FREE, 1)],
)
def test_calls_of_a_round(assets: int, tier: Tier, calls: int) -> None:
    assert judge(load(assets), tier).per_round == calls


def test_calls_of_a_day_add_up() -> None:
    free = judge(load(71, 24), Tier.FREE)
    assert free.possible is not None
    assert free.spare == free.possible - free.prices - free.bars
    assert free.prices + free.bars <= 2 * 95 + 40
    live = judge(load(71, 24), Tier.STARTER)
    assert (live.possible, live.spare) == (None, None)
    assert live.bars == 3 * 288 + 92 * 48


def test_history_that_no_call_is_left_for_is_never_whole() -> None:
    verdict = judge(load(5_000), Tier.FREE)
    assert verdict.history_h is None
    assert "history never becomes whole" in sentence(load(5_000), verdict)
    assert judge(load(5_000, days=0), Tier.FREE).history_h == 0
