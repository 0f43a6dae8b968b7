"""Everything that a user can give to `assetq`, at random: arguments, catalogues, files, variables.

Each runs the command in this process, on real servers, and must end with a documented exit code, no
traceback, no secret told and, where it refuses, nothing changed.

    python -m tests.chaos.fuzz_inputs --count 10000 --seed 1     # or exit code 1
    python -m tests.chaos.fuzz_inputs --seed 1 --only 4711       # that one case, told in full
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import redis
import structlog

from cli.exits import MEANINGS, ExitCode
from cli.main import run as run_command
from db.connection import connect
from db.migrate import migrate
from db.symbols import Asset, SymbolRepository
from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
from tests.chaos.inputs import SECRET, Input, make_input

SHOWN_PROBLEMS = 20
SLOW_S = 10.0
CHANGES_NOTHING = {ExitCode.USAGE, ExitCode.SETTINGS, ExitCode.UNREACHABLE, ExitCode.NOT_FOUND}
_SYMBOL, _TICKER = re.compile(r"[A-Z0-9._-]{1,20}"), re.compile(r"[CX]:[A-Z0-9]{5,20}")


@dataclass
class Findings:
    """What the inputs did."""

    cases: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    """kind and exit code"""
    slowest_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        codes = ", ".join(f"{name}: {count}" for name, count in sorted(self.codes.items()))
        return (
            f"{self.cases} inputs: {len(self.problems)} problems\n"
            f"kind, exit code: {codes}\nslowest: {self.slowest_s:.1f} s"
        )


@dataclass(frozen=True)
class Ended:
    """What a command left behind; the text as its bytes would be on a terminal."""

    code: object
    out: str
    err: str


HOLD_SECRETS = (
    "MASSIVE_API_KEY", "POLYGON_API_KEY", "DB_PASSWORD", "WEB_PASSWORD", "REDIS_URL", "DATABASE_URL"
)  # fmt: skip


class Fuzz:
    """Runs inputs on one Valkey (with its debug command) and one migrated database."""

    def __init__(self, folder: Path, redis_url: str, database_url: str, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._env = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "MASSIVE_API_KEY": SECRET,
            "POLYGON_BASE_URL": "http://127.0.0.1:1",
            "RATE_WINDOW_SECONDS": "1",  # a list that is asked for waits for the quota
            "ASSETQ_DATA_DIR": str(folder / "data"),
        }
        self._database = psycopg.connect(database_url, autocommit=True)
        self._redis = redis.Redis.from_url(redis_url)
        self._connection = connect(database_url)
        self.findings = Findings()
        self._reset()

    def close(self) -> None:
        """Closes the connections."""
        self._database.close()
        self._redis.close()
        self._connection.close()

    def case(self, number: int) -> Input:
        """The same for a seed and a number, whenever it runs."""
        return make_input(Random(f"{self._seed}/{number}"))

    def run(self, number: int) -> None:
        """One input, and everything that it must not do."""
        given, found = self.case(number), self.findings
        found.cases += 1
        if number % 50 == 0:
            self._reset()
        before, started = self._state(), time.monotonic()
        try:
            ended = self._command(given)
            problems = list(self._judge(given, ended, before))
        except BaseException as error:  # a SystemExit is as bad
            if isinstance(error, KeyboardInterrupt):
                raise
            problems = [traceback.format_exc(limit=-4)]
        took_s = time.monotonic() - started
        found.slowest_s = max(found.slowest_s, took_s)
        if took_s > SLOW_S:
            problems.append(f"took {took_s:.0f} s")
        found.problems += [f"case {number} ({given.told()}): {problem}" for problem in problems]

    def _judge(self, given: Input, ended: Ended, before: object) -> Iterator[str]:
        code, said = ended.code, ended.out + ended.err
        self.findings.codes[f"{given.kind} {code}"] += 1
        if code not in set(MEANINGS):
            yield f"ended with {code!r}"
        for sign in ("Traceback", "This is a defect"):
            if sign in said:
                yield f"{sign}: {said[:700]}"
        if SECRET in said and self._is_secret(given):
            yield f"told the secret: {said[:700]}"
        if code != ExitCode.OK and not ended.err.strip():
            yield f"ended with {code} and not a word"
        after = self._state()
        if (code in CHANGES_NOTHING or given.reads) and after != before:
            yield f"ended with {code} and changed something: {before} → {after}"
        if given.kind == "catalogue":
            yield from self._judge_rows(given, code)

    def _is_secret(self, given: Input) -> bool:
        """Whether it stands where a secret belongs: nobody can know it for one elsewhere alone."""
        env = {name.upper(): value for name, value in {**self._env, **given.env}.items()}
        return any(SECRET in env.get(name, "") for name in HOLD_SECRETS)

    def _judge_rows(self, given: Input, code: object) -> Iterator[str]:
        rows = self._database.execute(
            "SELECT symbol, polygon_ticker, priority FROM trading.symbols"
        ).fetchall()
        for symbol, ticker, priority in rows:
            if not (_SYMBOL.fullmatch(symbol) and _TICKER.fullmatch(ticker) and 1 <= priority <= 4):
                yield f"stored {symbol!r} {ticker!r} {priority!r}"
        if code not in (ExitCode.OK, ExitCode.USAGE):
            yield f"a catalogue ended with {code}"

    def _command(self, given: Input) -> Ended:
        folder = self._folder / "here"
        folder.mkdir(exist_ok=True)
        for left in list(folder.iterdir()):
            left.unlink()
        for name, content in given.files.items():
            (folder / name).write_bytes(content)
        out, err = _terminal("strict"), _terminal("backslashreplace")
        world = _world(folder, {**self._env, **given.env})
        with world, redirect_stdout(out), redirect_stderr(err):
            code = run_command(given.args)
            out.flush()
        return Ended(code, _text(out), _text(err))

    def _state(self) -> object:
        rows = self._database.execute(
            "SELECT md5(string_agg(s::text, '|' ORDER BY symbol)) FROM trading.symbols s"
        ).fetchone()
        redis: Any = self._redis
        return redis.execute_command("DEBUG", "DIGEST"), rows

    def _reset(self) -> None:
        self._redis.flushdb()
        self._database.execute("TRUNCATE trading.symbols CASCADE")
        SymbolRepository(self._connection).upsert_many(
            [
                Asset("EURUSD", "C:EURUSD", "forex", "Euro", 1, 300),
                Asset("BTCUSD", "X:BTCUSD", "crypto", None, 2, None),
                Asset("XAUUSD", "C:XAUUSD", "forex", None, 3, 1800),
            ]
        )


def _terminal(errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    raw: Any = stream.buffer
    return bytes(raw.getvalue()).decode("utf-8", "replace")


@contextmanager
def _world(folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    """As if this process had been started there."""
    before = Path.cwd(), dict(os.environ), sys.stdin
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    try:
        with Path(os.devnull).open() as sys.stdin:
            yield
    finally:
        sys.stdin = before[2]
        os.environ.clear()
        os.environ.update(before[1])
        os.chdir(before[0])
        structlog.reset_defaults()


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one case, told in full")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assetq-fuzz-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user if we are root
        valkey = ValkeyServer(folder / "valkey", extra=("--enable-debug-command", "local"))
        postgres = PostgresServer(folder / "postgres", durable=False)
        try:
            valkey.start()
            postgres.start()
            database_url = postgres.ensure_database()
            migrate(database_url)
            fuzz = Fuzz(folder, valkey.url, database_url, given.seed)
            return _fuzz(fuzz, given)
        finally:
            valkey.stop()
            postgres.stop()


def _fuzz(fuzz: Fuzz, given: argparse.Namespace) -> int:
    started = time.monotonic()
    try:
        for number in range(given.count) if given.only is None else [given.only]:
            if given.only is not None:
                print(fuzz.case(number))
            fuzz.run(number)
            if sys.stderr.isatty() and number % 100 == 0:
                print(f"\r{number}", end="", file=sys.stderr)
    finally:
        fuzz.close()
    findings = fuzz.findings
    for problem in findings.problems[:SHOWN_PROBLEMS]:
        print("PROBLEM", problem.encode("ascii", "backslashreplace").decode())
    print(f"inputs, seed {given.seed}, {time.monotonic() - started:.0f} s: {findings}")
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
