"""Recorded market data as tracks, mapped by time of day onto any day's clock."""

from __future__ import annotations

import gzip
import itertools
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from local.sandbox.errors import UnusableFile
from local.sandbox.hours import DAY_MS
from local.sandbox.instruments import Instrument
from local.sandbox.sources import RECORDINGS, Recording
from local.sandbox.tracks import STEP_MS, Label, SyntheticTrack, Ticks, Track

TICK_COLUMNS: Final = ("ms", "price")
BAR_COLUMNS: Final = ("start_s", "open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class TickTrack:
    """One recorded day of ticks, the same on every day."""

    label: Label
    source: str
    ticks: Ticks

    def day(self, day: int) -> Ticks:
        """The ticks of one day: each bar drawn as a path through its four prices."""
        return self.ticks


@dataclass(frozen=True, slots=True)
class BarTrack:
    """Recorded bars, day after day, from the beginning again after the last.

    `table` holds the bars' columns row by row, `days` which rows make a day. Inside a bar the price
    runs in straight lines from open over both extremes to close, so that bars of the recorded
    length come out as they were recorded. Gaps of the recording stay gaps."""

    label: Label
    source: str
    step_ms: int
    table: Sequence[float]
    days: Sequence[Sequence[int]]

    def day(self, day: int) -> Ticks:
        times, prices, sizes = array("q"), array("d"), array("d")
        count = self.step_ms // STEP_MS
        for row in self.days[day % len(self.days)]:
            start_s, open_, high, low, close, volume = self.table[row * 6 : row * 6 + 6]
            start_ms = int(start_s) * 1000 % DAY_MS
            times.extend(range(start_ms, start_ms + self.step_ms, STEP_MS))
            prices.extend(_path(open_, high, low, close, count))
            sizes.extend(itertools.repeat(volume / count, count))
        return Ticks(times, prices, sizes)


def _path(open_: float, high: float, low: float, close: float, count: int) -> Iterator[float]:
    """`count` prices from open to close; a rising bar is taken to have visited its low first."""
    prices = (open_, low, high, close) if close >= open_ else (open_, high, low, close)
    corners = (0, count // 3, 2 * count // 3, count - 1)
    for (begin, finish), (start, end) in zip(
        itertools.pairwise(corners), itertools.pairwise(prices), strict=True
    ):
        for at in range(begin, finish):
            yield start + (end - start) * (at - begin) / (finish - begin)
    yield close


def load_tracks(directory: Path) -> Mapping[str, Track]:
    """The recordings that lie in the directory, by ticker; those not there are left out.

    Raises UnusableFile for one that is there and cannot be read."""
    return {
        recording.ticker: _load(recording, path, path.stat().st_mtime_ns)
        for recording in RECORDINGS
        if (path := directory / recording.file).is_file()
    }


class Tracks:
    """A track for every instrument: the recording if there is one, else a synthetic one."""

    def __init__(self, directory: Path) -> None:
        self._recorded = load_tracks(directory)

    def __call__(self, instrument: Instrument) -> Track:
        return self._recorded.get(instrument.ticker) or SyntheticTrack(instrument)


@cache  # tests start many servers in one process
def _load(recording: Recording, path: Path, changed_ns: int) -> Track:
    columns = BAR_COLUMNS if recording.step_s else TICK_COLUMNS
    try:
        head, _, text = gzip.decompress(path.read_bytes()).decode().partition("\n")
        table = array("d", map(float, text.strip().replace("\n", ",").split(",")))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UnusableFile(f"{path} is damaged ({error}): delete it, fetch again") from error
    if head != ",".join(columns) or len(table) % len(columns):
        raise UnusableFile(f"{path} is not as the fetch writes it: delete it, fetch again")
    if not recording.step_s:
        ticks = Ticks(array("q", map(int, table[::2])), table[1::2])
        return TickTrack(recording.label, recording.source, ticks)
    days = _days([int(start_s) for start_s in table[::6]], recording.step_s)
    return BarTrack(recording.label, recording.source, recording.step_s * 1000, table, days)


def _days(starts_s: Sequence[int], step_s: int) -> Sequence[Sequence[int]]:
    """Row numbers by UTC day. A recording of hardly more than one day becomes that one day, by
    time of day; of a longer one the last day is dropped, which hardly began."""
    day_s = DAY_MS // 1000
    if len(starts_s) < 2 * day_s // step_s:
        return [sorted(range(day_s // step_s), key=lambda row: starts_s[row] % day_s)]
    grouped = itertools.groupby(range(len(starts_s)), key=lambda row: starts_s[row] // day_s)
    return [tuple(rows) for _, rows in grouped][:-1]
