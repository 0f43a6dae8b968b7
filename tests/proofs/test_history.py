"""The small version of `make history`: real processes, and every value of every bar."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.history import Setup, prove

pytestmark = pytest.mark.server


def test_every_bar_of_the_sandbox_is_stored(
    redis_url: str, migrated_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "processes.log"
    found = prove(redis_url, migrated_url, Setup(assets=4, days=60, workers=2, log=log))
    assert found.broken == [], log.read_text()[-2000:]
    assert found.bars > 50_000
    assert found.by_status.keys() <= {"200", "403"}
