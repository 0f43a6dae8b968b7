"""Counting arrivals: the worst window, and the limit as the provider counts it."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from local.sandbox.arrivals import ArrivalLog, fingerprint, worst_window

SECOND: Final = 1_000_000_000
times = st.lists(st.integers(0, 400).map(lambda t: t / 4), max_size=60)


@given(times, st.sampled_from([0.25, 1.0, 2.5, 60.0]))
def test_the_worst_window_is_what_trying_every_window_finds(
    times_s: list[float], window_s: float
) -> None:
    brute = max((sum(a <= t < a + window_s for t in times_s) for a in times_s), default=0)
    assert worst_window(times_s, window_s) == brute


def test_arrivals_exactly_one_window_apart_share_no_window() -> None:
    assert worst_window([0.0, 60.0, 120.0], 60.0) == 1
    assert worst_window([0.0, 59.999], 60.0) == 2
    assert worst_window([], 60.0) == 0


def arrive(log: ArrivalLog, at_ns: int, key: str = "k") -> bool:
    """One whole request; True when it was within the limit."""
    seq = log.begin(at_ns, at_ns / SECOND)
    log.describe(seq, "GET", "/v3/snapshot", (), key)
    passed = log.admit(seq)
    log.finish(seq, 200 if passed else 429)
    return passed


@given(st.lists(st.integers(0, 40), max_size=50).map(sorted), st.integers(1, 5), st.booleans())
def test_the_limit_agrees_with_a_plain_model(
    times_s: list[int], limit: int, count_refused: bool
) -> None:
    log = ArrivalLog(limit, 10.0, count_refused=count_refused)
    counted: list[int] = []
    for at_s in times_s:
        expected = sum(at_s - 10 < t <= at_s for t in counted) < limit
        assert arrive(log, at_s * SECOND) is expected
        if expected or count_refused:
            counted.append(at_s)
    passed = [a.mono_s for a in log.all() if a.status == 200]
    assert worst_window(passed, 10.0) <= limit


@given(st.lists(st.integers(0, 19), min_size=1, max_size=30), st.integers(1, 4), st.booleans())
def test_no_window_lets_more_in_when_decisions_come_out_of_order(
    times_s: list[int], limit: int, count_refused: bool
) -> None:
    log = ArrivalLog(limit, 10.0, count_refused=count_refused)
    passed = [at_s for at_s in times_s if arrive(log, at_s * SECOND)]
    assert worst_window(passed, 10.0) <= limit


def test_of_many_at_once_the_first_by_their_bytes_are_let_in() -> None:
    log = ArrivalLog(5, 60.0)
    seqs = [log.begin(at, 0.0) for at in range(20)]
    for seq in seqs:
        log.describe(seq, "GET", "/", (), "k")
    assert [log.admit(seq) for seq in reversed(seqs)] == [False] * 15 + [True] * 5


def test_one_that_takes_windows_to_say_what_it_wants_still_gets_an_answer() -> None:
    log = ArrivalLog(2, 10.0)
    slow = log.begin(0, 0.0)
    assert arrive(log, 100 * SECOND)
    log.describe(slow, "GET", "/", (), "k")
    assert log.admit(slow)
    assert arrive(log, 101 * SECOND)
    assert not arrive(log, 102 * SECOND)


def test_each_key_has_a_window_of_its_own() -> None:
    log = ArrivalLog(1, 60.0)
    assert arrive(log, 0, "one")
    assert arrive(log, 1, "two")
    assert not arrive(log, 2, "one")


def test_a_request_that_is_still_being_read_counts_from_its_first_byte() -> None:
    log = ArrivalLog(1, 60.0)
    slow = log.begin(0, 0.0)
    assert not arrive(log, SECOND)
    log.describe(slow, "GET", "/", (), "k")
    assert log.admit(slow)


def test_one_that_was_cut_off_before_it_named_a_key_is_logged_but_uses_no_quota() -> None:
    log = ArrivalLog(1, 60.0)
    log.finish(log.begin(0, 0.0), None)
    assert arrive(log, SECOND)
    assert [(a.method, a.status) for a in log.all()] == [("", None), ("GET", 200)]


def test_a_control_request_is_no_arrival() -> None:
    log = ArrivalLog(1, 60.0)
    log.forget(log.begin(0, 0.0))
    assert log.all() == []
    assert arrive(log, 1)


def test_the_log_is_bounded_and_shows_fingerprints_only() -> None:
    log = ArrivalLog(None, 0.001, keep=50)
    for at in range(0, 60 * SECOND, SECOND):
        arrive(log, at, "a-secret-key")
    kept = log.all()
    assert len(kept) == 50
    assert kept[0].seq == 11
    assert kept[0].key == fingerprint("a-secret-key")
    assert "secret" not in repr(kept[:5]) + repr(kept[0].as_json())


def test_clear_forgets_log_and_window() -> None:
    log = ArrivalLog(1, 60.0)
    assert arrive(log, 0)
    log.clear()
    assert log.all() == []
    assert arrive(log, 1)
