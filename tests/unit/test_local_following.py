"""What is shown has been counted: a user may end a run at the very line that he waited for."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from local.following import follow
from local.summary import Tally
from local.views import PlainView
from local.watching import Refresh

CRITICAL = ("XAUUSD", "EURUSD", "BTCUSD")
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def refresh(symbol: str) -> Refresh:
    return Refresh(symbol, Decimal(1), NOW, "v3", "real_time", 1, 0.0, NOW)


@pytest.mark.parametrize("last", range(len(CRITICAL)))
def test_ctrl_c_at_a_line_finds_its_refresh_counted(
    last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher: Any = SimpleNamespace(
        earlier=lambda _: [], updates=lambda: [refresh(symbol) for symbol in CRITICAL]
    )
    view, tally = PlainView(), Tally(CRITICAL)

    def press_ctrl_c(line: str) -> None:
        if CRITICAL[last] in line:
            raise KeyboardInterrupt

    monkeypatch.setattr(view, "say", press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        follow(watcher, view, None, seen=tally.count)
    assert tally.missing == list(CRITICAL[last + 1 :])
