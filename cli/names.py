"""What a user types for an asset: `EURUSD`, `eurusd`, `EUR/USD` and `C:EURUSD` mean one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from cli.exits import CommandError, ExitCode
from market.tickers import bare

_LONGEST = 64
_SHOWN = 40


def resolve(
    typed: Sequence[str], known: Mapping[str, Sequence[str]], *, what: str, remedy: str
) -> list[str]:
    """The known names that are meant, each once, in the order typed.

    `known` maps each name to its other spellings. An exact name comes first, then one that is
    written alike, if it is the only one. Raises CommandError naming everything that is not a
    symbol, or not `what` ("a tracked symbol"), with the nearest names.
    """
    malformed = [text for text in typed if not _plausible(text)]
    if malformed:
        raise CommandError(
            [
                f"{text[:_SHOWN]!a} is not a symbol: 1 to {_LONGEST} letters, digits, . _ : / or -."
                for text in malformed
            ],
            ExitCode.USAGE,
        )
    alike: dict[str, list[str]] = {}
    for name, others in known.items():
        for spelling in dict.fromkeys(bare(text) for text in (name, *others)):
            alike.setdefault(spelling, []).append(name)
    found, problems = [], []
    for text in dict.fromkeys(typed):
        meant = [text] if text in known else alike.get(bare(text), [])
        if len(meant) == 1:
            found.append(meant[0])
        elif meant:
            problems.append(f"{text} may mean {' or '.join(meant)}. Name one of them.")
        else:
            near = _nearest(text, alike)
            hint = f"Did you mean {' or '.join(near)}? " if near else ""
            problems.append(f"{text} is not {what}. {hint}{remedy}")
    if problems:
        raise CommandError(problems, ExitCode.NOT_FOUND)
    return list(dict.fromkeys(found))


def _plausible(text: str) -> bool:
    letters = all(c.isascii() and (c.isalnum() or c in "._:/-") for c in text)
    return letters and 0 < len(text) <= _LONGEST and bool(bare(text))


def _nearest(text: str, alike: Mapping[str, Sequence[str]]) -> list[str]:
    near = difflib.get_close_matches(bare(text), alike, 3, 0.6)
    return list(dict.fromkeys(name for spelling in near for name in alike[spelling]))[:3]
