"""Draws the pictures of docs/architecture.md: the rooms, and the life of one asset.

python -m bench.pictures

The floors come from the import rules of pyproject.toml, the purposes from the table of the page.
"""

import re
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
WIDTH = 960
_ROOM = re.compile(r"^\| (\d) \| `(\w+)/` \| (.+?) \|$", re.MULTILINE)

# Colours by role: light, then dark. `edge` and `soft` are those of the five kinds of card.
_INK = {
    "page": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "dim": ("#59636e", "#9198a1"),
}
_CARDS = {
    "say": ("#0969da", "#ddf4ff", "#4493f8", "#0c2d6b"),
    "run": ("#1a7f37", "#dafbe1", "#3fb950", "#033a16"),
    "share": ("#7d4e00", "#fff8c5", "#d29922", "#3b2300"),
    "base": ("#8250df", "#fbefff", "#ab7df8", "#3c1e70"),
    "end": ("#59636e", "#f6f8fa", "#9198a1", "#21262d"),
    "bad": ("#d1242f", "#ffebe9", "#f85149", "#5d0f12"),
}


def style() -> str:
    """The stylesheet: the same classes in both colour schemes."""

    def rules(dark: int) -> str:
        lines = [f".{name}{{fill:{pair[dark]}}}" for name, pair in _INK.items()]
        lines.append(f".line{{stroke:{_INK['dim'][dark]};fill:none}}")
        for name, colours in _CARDS.items():
            edge, soft = colours[2 * dark : 2 * dark + 2]
            lines.append(f".{name}{{stroke:{edge};fill:{soft}}}.{name}-t{{fill:{edge}}}")
        return "".join(lines)

    return (
        "<style>text{font-family:ui-sans-serif,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;"
        "font-size:13px}.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;"
        f"font-size:15px;font-weight:600}}{rules(0)}"
        f"@media(prefers-color-scheme:dark){{{rules(1)}}}</style>"
    )


def text(x: float, y: float, words: str, kind: str = "ink", *, at: str = "start") -> str:
    """One line of text; `at` is its anchor."""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{at}">{escape(words)}</text>'


def card(x: float, y: float, w: float, h: float, title: str, lines: list[str], kind: str) -> str:
    """A box with a title and some lines below it."""
    box = f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="8" class="{kind}"/>'
    head = text(x + 14, y + 26, title, f"mono {kind}-t")
    body = (text(x + 14, y + 47 + 17 * n, line, "ink") for n, line in enumerate(lines))
    return box + head + "".join(body)


def arrow(path: str) -> str:
    """A line with a head, along an SVG path."""
    return f'<path d="{path}" class="line" stroke-width="1.5" marker-end="url(#head)"/>'


def svg(height: float, title: str, parts: list[str]) -> str:
    """The whole file."""
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0 8 4 0 8z" class="dim"/></marker>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" '
        f'viewBox="0 0 {WIDTH} {height:g}" role="img"><title>{escape(title)}</title>{style()}'
        f'<defs>{head}</defs><rect width="{WIDTH}" height="{height:g}" rx="10" class="page"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


# --- the rooms

_KINDS = {
    "say": "web cli local health",
    "run": "scheduler worker",
    "share": "runtime settings",
    "base": "queueing market db config",
}


def floors() -> list[list[str]]:
    """The rooms by floor, top floor first, as `make lint` enforces them."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = rules["contracts"][0]["layers"]
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def purposes() -> dict[str, str]:
    """Room → what it is for, in the words of docs/architecture.md."""
    page = (DOCS / "architecture.md").read_text("utf-8")
    return {room: purpose.replace("`", "") for _, room, purpose in _ROOM.findall(page)}


def rooms() -> str:
    """A house: one row a floor, one card a room."""
    told, house, side, gap = purposes(), floors(), 112, 12
    kind = {room: kind for kind, group in _KINDS.items() for room in group.split()}
    parts, y = [], 20.0
    for level, row in enumerate(house):
        width = (WIDTH - side - 20 - gap * (len(row) - 1)) / len(row)
        wrapped = [textwrap.wrap(told[room], int((width - 28) / 6.5)) for room in row]
        height = 44 + 17 * max(len(lines) for lines in wrapped)
        parts.append(text(24, y + height / 2 + 4, f"floor {len(house) - level}", "dim"))
        for n, (room, lines) in enumerate(zip(row, wrapped, strict=True)):
            x = side + n * (width + gap)
            parts.append(card(x, y, width, height, f"{room}/", lines, kind.get(room, "end")))
        y += height + gap
    parts.append(arrow(f"M92 32V{y - 22:g}"))
    parts.append(text(24, y + 14, "A room imports from lower floors only.", "dim"))
    return svg(y + 32, "The rooms of assetq, floor by floor", parts)


# --- the life of one asset

# x, y, width, title, lines, kind
_STATES = (
    (24, 50, 184, "asked for", "each 5 min the batch,|each 30 min the rest,|assetq enqueue", "end"),
    (
        276,
        50,
        180,
        "queued",
        "in Redis, once; by|priority, then by the|time of the request",
        "base",
    ),
    (
        512,
        50,
        196,
        "leased",
        "by a worker, for 30 s;|a permit of the quota|pays for one call",
        "run",
    ),
    (764, 50, 172, "called", "one HTTP request,|sent within 4 s|or not at all", "say"),
    (764, 222, 172, "written", "PostgreSQL, in one|transaction; never|older over newer", "share"),
    (764, 394, 172, "refreshed", "the event is told, the|asset may be asked again", "end"),
    (276, 222, 180, "delayed", "rests until its time|to be tried again", "base"),
    (276, 394, 180, "dead letter", "transient, invalid or|poison, with a reason", "bad"),
)
# path, then x, y and anchor of its label
_WAYS = (
    ("M208 99H272", 240, 90, "middle", "enqueue"),
    ("M456 99H508", 482, 90, "middle", "claim"),
    ("M708 99H760", 734, 90, "middle", "send"),
    ("M850 148V218", 860, 187, "start", "answer"),
    ("M850 320V390", 860, 359, "start", "end: done"),
    ("M560 148V263H460", 570, 220, "start", "end: retry"),
    ("M366 222V152", 376, 191, "start", "due"),
    ("M650 148V435H460", 660, 300, "start", "end: bury"),
    ("M610 50V26H366V46", 488, 19, "middle", "end: give back · the lease ran out"),
    ("M276 435H122V152", 132, 360, "start", "next round, a day"),
    ("", 132, 378, "start", "later, or assetq"),
    ("", 132, 396, "start", "dead retry"),
)


def life() -> str:
    """From being asked for to the event, with every way back."""
    cards = [
        card(x, y, width, 47 + 17 * len(lines := says.split("|")), title, lines, kind)
        for x, y, width, title, says, kind in _STATES
    ]
    ways = [
        (arrow(path) if path else "") + text(x, y, label, "dim", at=anchor)
        for path, x, y, anchor, label in _WAYS
    ]
    return svg(496, "The life of one asset, from being asked for to its event", cards + ways)


PICTURES = {"rooms.svg": rooms, "life.svg": life}


def main() -> None:
    """Writes each picture to docs/."""
    for name, draw in PICTURES.items():
        (DOCS / name).write_text(draw(), "utf-8")


if __name__ == "__main__":
    main()
