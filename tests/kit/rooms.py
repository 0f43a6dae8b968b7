"""The rooms of the project, as the import rules of pyproject.toml list them."""

from __future__ import annotations

import tomllib
from pathlib import Path

_PYPROJECT = Path(__file__).resolve().parent.parent.parent / "pyproject.toml"
LINTER = tomllib.loads(_PYPROJECT.read_text("utf-8"))["tool"]["importlinter"]
FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(name.strip() for name in line.split("|")) for line in LINTER["contracts"][0]["layers"]
)
"""Top floor first; rooms on one floor do not import each other."""
ROOMS: tuple[str, ...] = tuple(sorted(set().union(*FLOORS) - {"bench"}))
"""Everything that runs in production."""
