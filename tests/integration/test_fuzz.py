"""A slice of `make fuzz`, and whether it would notice a lie, a lost item, a crash, a secret."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import market.reading
import market.snapshots
from db.refresh import RefreshWriter
from local.servers.valkey import ValkeyServer
from market.quotes import Missing
from queueing import PriorityQueue
from tests.chaos import fuzz_inputs, fuzz_provider

SEED = 20


@pytest.fixture
def provider(redis_url: str, migrated_url: str) -> Iterator[fuzz_provider.Fuzz]:
    with fuzz_provider.Fuzz.open(redis_url, migrated_url, SEED) as fuzz:
        yield fuzz


@pytest.fixture
def inputs(
    tmp_path: Path, redis_url: str, migrated_url: str, valkey_server: ValkeyServer
) -> Iterator[fuzz_inputs.Fuzz]:
    fuzz = fuzz_inputs.Fuzz(tmp_path, redis_url, migrated_url, SEED)
    yield fuzz
    fuzz.close()


def test_damaged_answers_break_nothing_and_store_no_lie(provider: fuzz_provider.Fuzz) -> None:
    for number in range(200):
        provider.run(number)
    found = provider.findings
    assert not found.problems, "\n".join(found.problems)
    assert set(found.ended) == {"done", "goes on", "retried", "given back", "buried"}
    assert found.prices > 40 < found.bars


def test_a_price_that_no_answer_states_is_noticed(
    provider: fuzz_provider.Fuzz, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe = market.reading.observe

    def lie(*args: Any, **named: Any) -> Any:
        seen = observe(*args, **named)
        if isinstance(seen, Missing):
            return seen
        return replace(seen, price=replace(seen.price, last=seen.price.last + 1))

    monkeypatch.setattr(market.snapshots, "observe", lie)
    assert any("is stated" in problem for problem in _problems(provider))


def test_an_item_that_nobody_gives_back_is_noticed(
    provider: fuzz_provider.Fuzz, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PriorityQueue, "end", lambda self, *args, **named: self.next_at())
    assert any("still leased" in problem for problem in _problems(provider))


def test_an_unexpected_error_is_noticed(
    provider: fuzz_provider.Fuzz, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RefreshWriter, "write", crash)
    assert all("ZeroDivisionError" in problem for problem in _problems(provider))


def _problems(fuzz: fuzz_provider.Fuzz) -> list[str]:
    for number in range(25):
        fuzz.run(number)
    assert fuzz.findings.problems
    return fuzz.findings.problems


def test_random_inputs_end_with_a_code_and_change_nothing_if_refused(
    inputs: fuzz_inputs.Fuzz,
) -> None:
    for number in range(250):
        inputs.run(number)
    found = inputs.findings
    assert not found.problems, "\n".join(found.problems)
    assert {name.split()[0] for name in found.codes} == {
        "arguments",
        "catalogue",
        "config",
        "environment",
    }


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda self, args: print(self._env["MASSIVE_API_KEY"]) or 2, "told the secret"),
        (lambda self, args: self._redis.set("x", 1) and 2, "changed something"),
        (lambda self, args: 77, "ended with 77"),
        (lambda self, args: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_command_that_misbehaves_is_noticed(
    inputs: fuzz_inputs.Fuzz, monkeypatch: pytest.MonkeyPatch, fault: Any, told: str
) -> None:
    monkeypatch.setattr(fuzz_inputs, "run_command", lambda args: fault(inputs, args))
    inputs.run(1)
    assert any(told in problem for problem in inputs.findings.problems)
