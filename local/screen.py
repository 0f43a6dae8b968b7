"""A board as lines that fit a terminal of any size. Pure: the same board gives the same lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from health.texts import span
from health.waits import band_name
from local.board import Board, Known
from local.views import awaited, clock, counted, moment, money, what_next
from local.watching import Status

_GAP = "  "
_HIGH = 40  # lines from which on a screen has room for more
_LEAST = 6  # lines that assets have at least


@dataclass(frozen=True)
class Column:
    """One column of the table of assets. Of those with a rank, the highest go first where it is
    narrow."""

    name: str
    right: bool = False
    rank: int = 0


_COLUMNS = (
    Column("at (UTC)"),
    Column("symbol"),
    Column("price", right=True),
    Column("change", right=True, rank=2),
    Column("age", right=True, rank=1),
    Column("waited", right=True, rank=3),
    Column("band", rank=4),
    Column("delay", rank=5),
    Column("source", rank=6),
)


def draw(board: Board, width: int, height: int, *, keys: bool = True) -> list[Text]:
    """Draw exactly `height` lines of at most `width` columns.

    Pinned symbols and the footer stay; what does not fit is left out between them. No symbol,
    price or time is cut. `keys`: single keys are read.
    """
    now, status = board.now(), board.status
    if now is None or status is None:
        return _filled([_cut(board.title, width, "bold")], [], height)
    below = [_footer(status, now, width, keys=keys)]
    for part in (
        _facts(status, width),
        _failures(board, now, width, _share(height, 3)),
        [_cut(line, width) for line in list(board.said)[-_share(height, 2) :]],
    ):
        if height - len(below) - len(part) - 1 >= _LEAST:  # assets matter more
            below = [*part, *below]
    room = height - len(below) - 1
    above = [_heading(board.title, now, width), *_assets(board, now, width, room)]
    return _filled(above, below, height)


def _share(height: int, lines: int) -> int:
    return lines * 3 if height >= _HIGH else lines


def _filled(above: list[Text], below: list[Text], height: int) -> list[Text]:
    """The footer is the last to go."""
    below = below[-height:]
    above = above[: height - len(below)]
    return [*above, *[Text()] * (height - len(above) - len(below)), *below]


def _cut(text: str, width: int, style: str = "") -> Text:
    line = Text(text, style=style, no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line


def _heading(title: str, now: datetime, width: int) -> Text:
    time = f"{clock(now)} UTC"
    line = _cut(title, width - len(time) - 2, "bold")
    line.pad_right(max(0, width - len(time) - line.cell_len))
    return line.append(time)


def _assets(board: Board, now: datetime, width: int, room: int) -> list[Text]:
    """The pinned symbols, then the newest of the others, in one table."""
    latest, pinned = board.latest, list(board.pinned.items())
    shown = pinned[: max(1, room // 2, room - 1 - _LEAST)]
    more = [_cut(f"… and {len(pinned) - len(shown)} more", width)] if shown != pinned else []
    left = max(0, room - 2 - len(shown) - len(more))
    others = latest[:left]
    rows = [_cells(symbol, known, now) for symbol, known in shown]
    rows += [_cells(known.refresh.symbol, known, now) for known in others]
    table = _table(rows, width, bold=len(shown))
    at = 1 + len(shown)
    return [*table[:at], *more, *([Text()] if others else []), *table[at:]]


def _cells(symbol: str, known: Known | None, now: datetime) -> list[str]:
    if known is None:
        return ["–", symbol, "none yet", *[""] * (len(_COLUMNS) - 3)]
    refresh = known.refresh
    return [
        moment(refresh.at, now),
        symbol,
        money(refresh),
        known.change,
        span((now - refresh.as_of).total_seconds()),
        span(refresh.waited_s),
        band_name(refresh.priority),
        refresh.delay,
        refresh.source,
    ]


def _table(rows: Sequence[Sequence[str]], width: int, *, bold: int) -> list[Text]:
    """A heading and the rows, the first ones `bold`, with the columns for which there is room."""
    table = [[column.name for column in _COLUMNS], *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(_COLUMNS))]
    kept = list(range(len(_COLUMNS)))
    while sum(widths[i] + len(_GAP) for i in kept) - len(_GAP) > width:
        least = max(kept, key=lambda i: _COLUMNS[i].rank)
        if not _COLUMNS[least].rank:
            break
        kept.remove(least)
    lines = []
    for number, row in enumerate(table):
        line = Text(style="dim" if not number else "bold" if number <= bold else "", no_wrap=True)
        for i in kept:
            cell = row[i].rjust(widths[i]) if _COLUMNS[i].right else row[i].ljust(widths[i])
            line.append(cell, _colour(row[i]) if _COLUMNS[i].name == "change" else "")
            line.append(_GAP)
        line.rstrip()
        lines.append(line)
    return lines


def _colour(change: str) -> str:
    return {"+": "green", "-": "red"}.get(change[:1], "")


def _failures(board: Board, now: datetime, width: int, most: int) -> list[Text]:
    """What failed last, each with its reason, which alone is cut, and what comes next."""
    found = board.failures
    if not found:
        return []
    more = f", the last {most}" if len(found) > most else ""
    lines = [_cut(f"failing ({len(found)}{more})", width, "yellow")]
    symbols = max(len(failure.symbol) for failure in found[:most])
    for failure in found[:most]:
        begun, follows = f"{failure.symbol:<{symbols}}{_GAP}", what_next(failure, now)
        left = width - len(begun) - len(follows) - len(_GAP)
        reason = _cut(failure.reason, max(0, left))
        reason.pad_right(max(0, left - reason.cell_len))
        lines.append(Text(begun, no_wrap=True).append_text(reason).append(_GAP + follows))
    return lines


def _facts(status: Status, width: int) -> list[Text]:
    facts = {
        "assets": counted(status.prices),
        "bars": counted(status.bars),
        "calls": _calls(status),
        "next": awaited(status),
    }
    lines = []
    for name, told in facts.items():
        lines += textwrap.wrap(f"{name:<8}{told}", width, subsequent_indent=" " * 8)
    return [Text(line, no_wrap=True) for line in lines]


def _calls(status: Status) -> str:
    if status.calls_left is None:
        return "not limited"
    return f"{status.calls_left} of {status.limit} left"


def _footer(status: Status, now: datetime, width: int, *, keys: bool) -> Text:
    """The keys, the next free call and the next batch, as long as there is room."""
    call_s = (status.next_call_at - now).total_seconds()
    batch_s = (status.next_batch_at - now).total_seconds()
    free = "now" if call_s <= 0 else f"in {span(call_s)}"
    line = f" {'q' if keys else 'Ctrl-C'} quits · next free call {free}"
    for more in (
        f" · next batch {clock(status.next_batch_at)}",
        f" (in {span(batch_s)})",
    ):
        if len(line) + len(more) > width:
            break
        line += more
    return Text(line.ljust(width), style="reverse", no_wrap=True)
