"""Random inputs of the `assetq` command: half sense, half nonsense, all from one Random."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, Final

import click

from cli.main import assetq

SECRET: Final = "planted-secret-4711"
ENDLESS: Final = frozenset({"up", "watch", "drain", "batch", "simulate", "doctor", "scheduler"})
"""Commands that, understood, would run for long: these are given one word too many."""

WORDS: Final = (
    "", " ", "-", "--", "---", "--json", "--help", "-h", "--version", "--yes", "--all", "-x", "0",
    "1", "-1", "5", "1e3", "nan", "inf", "-inf", "1e999", "99999999999999999999", "0x10", "1_0",
    "١٢", "½", "EURUSD", "BTCUSD", "XAUUSD", "eurusd", "C:EURUSD", "EURUDS", "EUR/USD", "HIGH",
    "high", "CRITICAL", "9", "free", "gold", "list", "stats", "import", "retry", "%s", "%(x)s",
    "{}", "$HOME", "`id`", "; rm x", "'", '"', "\\", "\n", "a\nb", "\t", "\x1b[31mred", "\u202e",
    "é", "日本", "\udcff", "ab\udc80cd", "x" * 5000, "--priority", "--limit", "--reason", "--for",
    "--assets", "--json=1", "--priority=", "=", "a=b", "nowhere.csv", ".", "/dev/null", "good.csv",
    "[red]", "[/]", "\\[", "None", "null", "true",
)  # fmt: skip
VALUES: Final = (
    "0", "1", "-1", "5", "60", "0.5", "1e3", "1e400", "nan", "inf", "-inf", "99999999999999999999",
    "0x10", "1_0", "١٢", "true", "false", "yes", "maybe", "TRUE", "free", "FREE", "starter", "gold",
    "EURUSD", "EURUSD,BTCUSD", "EURUSD,EURUSD", ",,,", "eurusd", "EUR USD", "massive", "a b",
    "http://127.0.0.1:1", "https://127.0.0.1:1/", "http://127.0.0.1:99999", "http://", "ftp://x",
    "http://[::1", "http://u:%(s)s@127.0.0.1:1", "redis://127.0.0.1:1/0", "redis://127.0.0.1:1/99",
    "redis://:%(s)s@127.0.0.1:1/0", "redis://127.0.0.1:1/x", "rediss://127.0.0.1:1",
    "rediss://:%(s)s@127.0.0.1:1?ssl_cert_reqs=odd", "unix:///nowhere.sock", "unix://",
    "redis://127.0.0.1:1?password=%(s)s&timeout=x", "redis://127.0.0.1:1?nosuch=1",
    "redis://127.0.0.1:port/0", "redis://a:%(s)s/b@127.0.0.1:1/0", "redis://[::1]:1/0",
    "postgresql://u:%(s)s@127.0.0.1:1/d", "postgres://u:%(s)s@127.0.0.1:1/d?sslmode=odd",
    "postgresql://u:%(s)s@x@127.0.0.1:1/d", "postgresql:///d?host=/nowhere&password=%(s)s",
    "postgresql://u:%(s)s/x@127.0.0.1:1/d", "postgresql://127.0.0.1:1/d?nosuch=%(s)s",
    "mysql://u:%(s)s@127.0.0.1/d", "postgresql://", "//127.0.0.1", "%(s)s", "%(s)s %(s)s",
    "%(s)s\u00e9", "\udcff", "\x1b[31m", "é" * 200, "x" * 100_000, "'", '"', "\\", "$HOME", "{}",
    "%", "127.0.0.1", "[::1]", "/nowhere", "nowhere.yml", ".", "\t1\t", " 5 ", "\u00a0",
)  # fmt: skip
VARIABLES: Final = (
    "MASSIVE_API_KEY", "POLYGON_API_KEY", "POLYGON_BASE_URL", "POLYGON_TIER", "POLYGON_RATE_LIMIT",
    "RATE_WINDOW_SECONDS", "RATE_MIN_SPACING_SECONDS", "BATCH_INTERVAL_MINUTES",
    "SECONDARY_INTERVAL_MINUTES", "BATCH_START_TOLERANCE_SECONDS", "PRIORITY_ASSETS_ENABLED",
    "PRIORITY_ASSETS", "QUEUE_MAX_SIZE", "RETRY_MAX_ATTEMPTS", "RETRY_DELAY_SECONDS",
    "REQUEST_TIMEOUT_SECONDS", "AGING_SECONDS", "REDIS_URL", "REDIS_TLS_VERIFY", "DATABASE_URL",
    "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "PORT", "WEB_PASSWORD",
    "ASSETQ_PROVIDER", "ASSETQ_CONFIG", "redis_url", "Polygon_Tier", "API_KEY", "ASSETQ_NOSUCH",
)  # fmt: skip
_SENSE: Final = {
    "POLYGON_TIER": "developer", "POLYGON_RATE_LIMIT": "7", "RATE_WINDOW_SECONDS": "30",
    "BATCH_INTERVAL_MINUTES": "10", "PRIORITY_ASSETS": "EURUSD, XAUUSD", "QUEUE_MAX_SIZE": "50",
    "REDIS_TLS_VERIFY": "false", "DB_PASSWORD": f"{SECRET}@:/", "WEB_PASSWORD": SECRET,
    "PORT": "8080", "ASSETQ_PROVIDER": "other", "AGING_SECONDS": "0", "DB_HOST": "127.0.0.1",
    "DB_PORT": "1", "DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:1/d",
    "REDIS_URL": f"redis://u:{SECRET}@127.0.0.1:1/3", "POLYGON_API_KEY": SECRET,
}  # fmt: skip
READING: Final = (
    ("queue", "stats"), ("queue", "list"), ("queue", "peek", "--json"), ("limiter", "status"),
    ("symbols", "list"), ("schedule", "list"), ("dead", "list"), ("symbols", "list", "--json"),
    ("plan", "show"), ("coverage",),
    ("coverage", "EURUSD"), ("bars", "EURUSD", "--csv"), ("bars", "eur/usd"),
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """One run of the command. `reads`: whatever becomes of it, it may change nothing."""

    kind: str
    args: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    reads: bool = False

    def told(self) -> str:
        """Short, for a list of problems."""
        return ascii((self.kind, self.args, self.env, self.files))[:300]


def make_input(random: Random) -> Input:
    """An input of a random kind."""
    kinds: tuple[Callable[[Random], Input], ...] = (_arguments, _catalogue, _config, _environment)
    return random.choice(kinds)(random)


@cache
def _commands() -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command by its path, but for those that leave their options to another program."""
    found: list[tuple[tuple[str, ...], click.Command]] = []
    context = click.Context(assetq)
    for name in assetq.list_commands(context):
        command = assetq.get_command(context, name)
        assert command is not None
        if command.context_settings.get("ignore_unknown_options"):
            continue
        found.append(((name,), command))
        for part, inner in getattr(command, "commands", {}).items():
            found.append(((name, part), inner))
    return found


def _arguments(random: Random) -> Input:
    path, command = random.choice(_commands())
    words: list[str] = []
    for parameter in command.params:
        if random.random() < 0.6:
            value = random.choice(WORDS)
            flag = getattr(parameter, "is_flag", False)
            option = parameter.opts[0] if isinstance(parameter, click.Option) else None
            words += [option] if option else []
            words += [] if flag else [value]
    words += random.choices(WORDS, k=random.choice((0, 0, 1, 2, 5)))
    args = [*path, *words]
    if random.random() < 0.15:
        random.shuffle(args)
    if random.random() < 0.05:
        args[0] = args[0][:-1] or "x"
    if ENDLESS & set(args):
        args.insert(random.randint(1, len(args)), "--no-such-option")
    files = {"good.csv": b"symbol,polygon_ticker,asset_type\nGBPUSD,C:GBPUSD,forex\n"}
    return Input("arguments", tuple(args), files)


_FIELDS: Final = (
    "symbol", "polygon_ticker", "asset_type", "name", "priority", "update_frequency_seconds",
)  # fmt: skip
_CELLS: Final = (
    *WORDS[7:], "NULL", "a,b", 'a"b', '"open', "a\rb", "a\0b", "3", "low", "1800", "1800.0", "-5",
    "2026-11-24", "=1+1", "X:BTCUSD", "C:" + "A" * 20, "C:AB", "n" * 201, "f" * 21, "9" * 5000,
)  # fmt: skip


def _row(random: Random) -> dict[str, str]:
    letters = "".join(random.choices("ABCDEFGH", k=6))
    row = {
        "symbol": letters,
        "polygon_ticker": f"{random.choice('CX')}:{letters}",
        "asset_type": random.choice(("forex", "crypto", "stock")),
        "name": random.choice(("Gold", "Ärmel, x", "日本", "")),
        "priority": random.choice(("1", "2", "HIGH", "low", "")),
        "update_frequency_seconds": random.choice(("300", "1800", "")),
    }
    while random.random() < 0.25:
        row[random.choice(_FIELDS)] = random.choice(_CELLS)
    return row


def _catalogue(random: Random) -> Input:
    rows = [_row(random) for _ in range(random.choice((0, 1, 1, 2, 5, 30)))]
    make = random.choice((_csv, _yaml_list, _yaml_text))
    name = random.choice(("c.csv", "c.txt")) if make is _csv else random.choice(("c.yml", "c.YAML"))
    text = _damaged(random, make(random, rows))
    return Input("catalogue", ("symbols", "import", name), {name: text})


def _csv(random: Random, rows: list[dict[str, str]]) -> str:
    names = list(_FIELDS)
    while random.random() < 0.2:
        random.choice((names.pop, lambda: names.append(random.choice((*_FIELDS, "x", "")))))()
        if not names:
            break
    between, end = random.choice(",,,,;\t"), random.choice(("\n", "\r\n", "\r", "\n\n"))

    def quoted(text: str) -> str:
        needs = any(c in text for c in f'{between}"\r\n') and random.random() < 0.8
        return '"' + text.replace('"', '""') + '"' if needs else text

    lines = [names, *([quoted(row.get(name, "")) for name in names] for row in rows)]
    return end.join(between.join(line) for line in lines) + end


def _yaml_list(random: Random, rows: list[dict[str, str]]) -> str:
    return "".join(
        "".join(
            f"{'- ' if at == 0 else '  '}{name}: {_scalar(random, value)}\n"
            for at, (name, value) in enumerate(row.items())
        )
        for row in rows
    )


_SCALARS: Final = (
    "~", "null", "yes", "1", "1.5", ".inf", ".nan", "0x1F", "0b", "0o9", "1:30", "1_000", "=",
    "2026-11-24", "2026-13-45", "2026-11-24 25:00:00", "[1, 2]", "{a: 1}", "[]", "{}", "!!set {a}",
    "!!binary aGk=", "!!binary é", "!!int x", "!!int ''", "!!float x", "!!bool x", "!!timestamp x",
    "!!python/object:os.system x", "!nosuch x", '"\\ud800"', '"\\0"', '"\\x41"', "&a [*a]",
    "*nowhere", "&b x", "'", '"', "|\n   text", ">\n   text", "? x", "- x", "@x", "`x", "%x", "\tx",
    "\u00e9",
    "[" * 1500, "[" * 400 + "]" * 400, "{a: " * 300 + "1" + "}" * 300, "9" * 5000, "<<: x",
    "{<<: 5}", "{<<: [5]}", "{[a]: 1}", "{{a: 1}: 1}", "{1: 2}", "{~: 1}", "-", "1e3", "EURUSD",
)  # fmt: skip


def _scalar(random: Random, value: str) -> str:
    if random.random() < 0.12:
        return random.choice(_SCALARS)
    return value if value.isalnum() and random.random() < 0.7 else json.dumps(value)


def _yaml_text(random: Random, rows: list[dict[str, str]]) -> str:
    document: Any = random.choice((rows, {"assets": rows}, [rows], rows[:1] or None, {}, "x"))
    return json.dumps(document, indent=random.choice((None, 2)))


def _damaged(random: Random, text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    part, at = random.random(), random.randint(0, len(data))
    if part < 0.75:
        return data
    damage: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at],
        lambda: data[:at] + bytes([random.randrange(256)]) + data[at + 1 :],
        lambda: (
            data[:at] + random.choice((b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"\t")) + data[at:]
        ),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: text.encode("utf-16", "replace"),
        lambda: data * 3,
        lambda: random.randbytes(40),
        lambda: b"",
    )
    return random.choice(damage)()


_SECTIONS: Final = {
    "batch": ("interval_minutes", "priority_assets"),
    "rate_limiting": ("calls_per_minute", "tier", "upgrade_url"),
    "queue": ("max_size", "retry_max_attempts", "retry_delay_seconds"),
}
_GOOD: Final = {
    "interval_minutes": "5", "calls_per_minute": "5", "tier": "free", "max_size": "1000",
    "upgrade_url": "https://massive.com/pricing", "retry_max_attempts": "3",
    "retry_delay_seconds": "60",
    "priority_assets": "\n    - symbol: EURUSD\n      enabled: true\n      priority: 1",
}  # fmt: skip


def _config(random: Random) -> Input:
    lines = []
    for section, keys in _SECTIONS.items():
        lines.append(f"{section}:" if random.random() < 0.9 else f"{section}: {_any(random)}")
        for key in keys:
            if random.random() < 0.7:
                value = _GOOD[key] if random.random() < 0.88 else _any(random)
                name = key if random.random() < 0.95 else random.choice((*WORDS[20:40], "~", "1"))
                lines.append(f"  {name}: {value}")
        if random.random() < 0.1:
            lines.append(f"  password: {SECRET}")
        if key == "priority_assets" and random.random() < 0.2:
            lines.append(f"    - {{symbol: {_any(random)}, enabled: {_any(random)}}}")
    if random.random() < 0.15:
        lines.insert(random.randint(0, len(lines)), _any(random))
    files = {"c.yml": _damaged(random, "\n".join(lines) + "\n")}
    return Input("config", random.choice(READING), files, {"ASSETQ_CONFIG": "c.yml"}, reads=True)


def _any(random: Random) -> str:
    return random.choice(random.choice((_SCALARS, tuple(w for w in WORDS if "\udcff" not in w))))


def _environment(random: Random) -> Input:
    chosen = random.sample(VARIABLES, random.choice((1, 1, 2, 3, 8)))
    values = {
        name: _SENSE[name]
        if name in _SENSE and random.random() < 0.7
        else random.choice(VALUES).replace("%(s)s", SECRET)
        for name in chosen
    }
    values = {name: value.replace("\0", "") for name, value in values.items()}
    files = {}
    if random.random() < 0.4:  # the same in a file
        quotes = random.choice(("", "'", '"'))
        text = "".join(f"{name}={quotes}{value}{quotes}\n" for name, value in values.items())
        files[".env"] = _damaged(random, random.choice(("", "export ", "\n# x\n")) + text)
        values = {}
    return Input("environment", random.choice(READING), files, values, reads=True)
