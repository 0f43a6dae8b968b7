"""What a run says at its end: fresh only where the plan gives live prices."""

from __future__ import annotations

from datetime import UTC, datetime

from db.symbols import StoredAsset
from local.summary import Tally, summary

NIGHT = datetime(2026, 11, 26, 23, 55, tzinfo=UTC)


def stored(symbol: str, delay: str, as_of: datetime = NIGHT) -> StoredAsset:
    asset = StoredAsset(symbol, f"C:{symbol}", "forex", None, 1, None)
    return StoredAsset(**{**vars(asset), "as_of": as_of, "delay": delay})


def last_line(tally: Tally, *assets: StoredAsset) -> str:
    return summary(tally, None, {asset.symbol: asset for asset in assets})[-1]


def test_live_prices_are_fresh() -> None:
    tally = Tally(("XAUUSD", "EURUSD"), fresh={"XAUUSD", "EURUSD"})
    told = last_line(tally, stored("XAUUSD", "real_time"), stored("EURUSD", "delayed"))
    assert told == "critical assets: all fresh (XAUUSD, EURUSD)"


def test_a_plan_without_live_prices_is_up_to_date_and_says_of_when() -> None:
    tally = Tally(("XAUUSD", "EURUSD"), fresh={"XAUUSD", "EURUSD"})
    newer = NIGHT.replace(hour=23, minute=59)
    told = last_line(
        tally, stored("XAUUSD", "end_of_day"), stored("EURUSD", "end_of_day", as_of=newer)
    )
    assert "fresh" not in told
    assert told == (
        "critical assets: up to date for this plan, which ends with the last completed day "
        "(XAUUSD, EURUSD): as of 2026-11-26 23:55 UTC"
    )


def test_what_was_not_refreshed_is_named() -> None:
    tally = Tally(("XAUUSD", "EURUSD"), fresh={"EURUSD"}, deaths=2)
    assert last_line(tally) == "critical assets: NOT refreshed: XAUUSD"
    assert "processes that ended and were started again: 2" in summary(tally, None, {})
    assert last_line(Tally(())) == "critical assets: none are configured"
