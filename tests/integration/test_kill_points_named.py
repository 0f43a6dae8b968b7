"""The failpoints are complete: whatever changes something names one, and each has a case."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from runtime.failpoints import Point
from tests.kit.kill_points import CASES

ROOT = Path(__file__).resolve().parent.parent.parent
CHANGES = {
    "claim",
    "end",
    "end_and_claim",
    "retire",
    "extend",
    "fetch",
    "write",
    "enqueue",
    "zadd",
    "enqueue_secondary",
    "enqueue_new_bars",
    "begin",
    "reap",
}
"""What changes something outside the process."""
EXCEPT = {
    "remove_lock": "an end that does not come is the lock's end by time",
    "_write": "the store's: COMMIT_BEFORE lies in it, COMMITTED behind it",
    "_write_singly": "a transaction per row: after a crash each row is old or new",
    "handle_job_failure": "a failed tick that is kept or not: it is never read by the work",
    "_try_to_end": "END_BEFORE lies before it, ENDED behind it",
    "lost": "extend: a lease that is not prolonged ends earlier, no more",
    "ask_for_series": "called by those that name points",
    "_ask": "the request: SEND_BEFORE lies before it, ANSWERED behind it",
    "enqueue_new_bars": "called between points; a part of a round is completed by the next",
    "enqueue_secondary": "called between points; a part of a round is completed by the next",
    "_ask_for_prices": "called between points; a part of a round is completed by the next",
    "_run": "a simulation",
    "ask_at_once": "a command's: what it does not ask for, the next round does",
}
HOSTS = ("worker", "scheduler")
NOT_RUN_BY_A_TICK: set[str] = set()


def _functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for room in HOSTS:
        for path in sorted((ROOT / room).glob("*.py")):
            if path.name in NOT_RUN_BY_A_TICK:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    yield path.name, node


def _called(function: ast.FunctionDef) -> set[str]:
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Attribute(attr=name) | ast.Name(id=name):
                    found.add(name)
    return found


def test_every_point_has_a_case_and_is_reached_in_the_code() -> None:
    reached = set()
    for _, function in _functions():
        for node in ast.walk(function):
            match node:
                case ast.Call(func=ast.Name(id="reached"), args=[argument]):
                    assert isinstance(argument, ast.Attribute), "a listed point, by its name"
                    reached.add(Point[argument.attr])
    assert reached == set(Point)
    assert set(CASES) == set(Point)


def test_whoever_changes_something_names_a_point() -> None:
    """A new step without a point (hence without a test) fails here."""
    silent = {
        f"{name}: {function.name}"
        for name, function in _functions()
        if _called(function) & CHANGES
        and "reached" not in _called(function)
        and function.name not in EXCEPT
    }
    assert silent == set()
