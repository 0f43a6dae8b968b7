"""Secrets are masked in every form in which they turn up."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.masking import Mask, secrets_of_environment


def test_secrets_are_masked_in_every_form() -> None:
    text = "s3cret/key s3cret%2Fkey redis://:p@ss@host/0 postgresql://u:p@h/d ok@example.org"
    assert Mask({"s3cret/key"})(text) == (
        "*** *** redis://***@host/0 postgresql://***@h/d ok@example.org"
    )


def test_secrets_of_settings_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:in-the-url@h:x/0")
    monkeypatch.setenv("WEB_PASSWORD", "of-the-pages")
    (tmp_path / ".env").write_text("MASSIVE_API_KEY=in-the-file\n")
    found = secrets_of_environment(str(tmp_path / ".env"))
    assert {"in-the-url", "of-the-pages", "in-the-file"} <= found


def test_each_part_of_a_key_with_blanks_is_secret() -> None:
    mask = Mask(["first-key-4711 second-key-4711 or"])
    told = mask("ASSETQ_CONFIG=second-key-4711: no file, for first-key-4711")
    assert told == "ASSETQ_CONFIG=***: no file, for ***"
