"""Finding the rows that the server refuses, so that they fail alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import psycopg

from db.connection import Connection
from db.errors import DatabaseConflict, RowRefused
from db.translation import translated

_MOST_TRIES = 200
_LONGEST_S = 5.0

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Isolated(Generic[T, R]):
    """`written`: the results of the pieces written; `refused`: the pieces refused, with why."""

    written: list[R] = field(default_factory=list)
    refused: list[tuple[Sequence[T], RowRefused]] = field(default_factory=list)


def isolate(
    connection: Connection, items: Sequence[T], write: Callable[[Sequence[T]], R]
) -> Isolated[T, R]:
    """Write the items inside the open transaction, each piece in a savepoint.

    A refused piece is halved until the refused items are alone, breadth first; n items with one
    bad one take some 2·log2(n) statements. After _MOST_TRIES or _LONGEST_S the rest is refused as
    a whole. Raises DatabaseError for what does not concern a row.
    """
    outcome: Isolated[T, R] = Isolated()
    pieces = deque([items] if items else [])
    tries, until_s = 0, time.monotonic() + _LONGEST_S
    while pieces:
        piece = pieces.popleft()
        tries += 1
        try:
            with connection.transaction():
                outcome.written.append(write(piece))
        except psycopg.Error as error:
            why = translated(error, connection.target, lost=connection.closed)
            if not isinstance(why, RowRefused) or isinstance(why, DatabaseConflict):
                raise why from error
            spent = tries + len(pieces) >= _MOST_TRIES or time.monotonic() > until_s
            if len(piece) == 1 or spent:
                outcome.refused.append((piece, why))
            else:
                half = len(piece) // 2
                pieces += [piece[:half], piece[half:]]
    return outcome
