"""What the pages of one process share, and how a page is answered."""

import gzip
import math
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, current_app, g, render_template, request
from markupsafe import Markup, escape

from health.facts import Facts
from health.freshness import Freshness
from health.observe import Observer
from health.rules import judge, worst
from health.texts import at, span, utc
from health.waits import band_name
from settings import Settings
from web.access import Door
from web.board import Board
from web.database import Database
from web.files import StaticFiles
from web.live import Live
from web.pending import PendingView
from worker.work import asset_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PAGES = (
    ("now", "Now"),
    ("freshness", "Freshness"),
    ("quota", "Quota"),
    ("health", "Health"),
)
"""Address and name of each page in the navigation. All lie in one folder, so that every link is
relative and a proxy may serve them under any prefix."""
_TOLD_AT_MOST = 100


@dataclass
class Site:
    """One per process; its threads share it."""

    settings: Settings
    observer: Observer
    door: Door
    database: Database
    board: Board
    pending: PendingView
    live: Live
    files: StaticFiles
    told: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Token → what an action has done, for the page that is shown next."""

    @classmethod
    def of(cls, settings: Settings, observer: Observer) -> "Site":
        """Build it; nothing is connected yet."""
        database = Database(settings.database_url)
        board = Board(observer, database)
        live = Live(observer.context, board.changed)
        pending = PendingView(observer)
        door, files = Door(settings), StaticFiles()
        return cls(settings, observer, door, database, board, pending, live, files)

    @property
    def synthetic(self) -> bool:
        """True if the prices come from a sandbox on this machine."""
        host = urlsplit(self.settings.base_url).hostname or ""
        return host in ("127.0.0.1", "::1", "localhost")

    def tell(self, text: str) -> str:
        """Keep a sentence for the next page; returns its token."""
        token = secrets.token_urlsafe(9)
        self.told[token] = text
        while len(self.told) > _TOLD_AT_MOST:
            self.told.popitem(last=False)
        return token


def site() -> Site:
    """Return that of the present application."""
    found: Site = current_app.extensions["assetq-site"]
    return found


def render(template: str, title: str, facts: Facts, **values: Any) -> Response:
    """Answer with a page; its header tells the status that `facts` make."""
    here = site()
    causes = judge(facts)
    page = template.removesuffix(".html")
    text = render_template(
        template,
        title=title,
        here=page,
        back=("./" if page == "now" else page) + query(),
        told=here.told.get(request.args.get("told", "")),
        rights={str(right) for right in g.visitor.rights},
        pages=PAGES,
        facts=facts,
        now_ms=facts.now_ms,
        level=worst(causes).status,
        causes=causes,
        visitor=g.visitor,
        synthetic=here.synthetic,
        **values,
    )
    return html(text)


def html(text: str, code: int = 200) -> Response:
    """Answer with HTML under the policy of the pages, packed where the client allows it."""
    body = text.encode()
    response = Response(body, code, mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Vary"] = "Accept-Encoding"
    if request.accept_encodings.quality("gzip") > 0:
        # No page holds a secret beside what a visitor typed, so its length reveals none.
        response.set_data(gzip.compress(body, 5, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response


def equip(app: Flask) -> None:
    """Give templates their filters and functions."""
    files: StaticFiles = app.extensions["assetq-site"].files
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals |= {
        "static": files.address,
        "query": query,
        "STATES": tuple(Freshness),
    }
    app.jinja_env.filters |= {
        "span": span,
        "since": since,
        "countdown": countdown,
        "clock": clock,
        "hms": hms,
        "instant": at,
        "price": price,
        "percent": percent,
        "ticked": ticked,
        "band": band_name,
        "asset_of": asset_of,
    }


def query(**changed: Any) -> str:
    """The present query with some values replaced; empty ones are left out."""
    given = {k: v for k, v in request.args.items() if k != "told"} | changed
    kept = {name: value for name, value in given.items() if value not in (None, "", 1)}
    return f"?{urlencode(kept)}" if kept else "?"


def since(ms: int | None, now_ms: int) -> Markup | str:
    """The age of an instant, which a script keeps up to date."""
    if not ms:
        return "–"
    return _time(ms, "age", span(max(0, now_ms - ms) / 1000))


def countdown(ms: int | None, now_ms: int) -> Markup | str:
    """The time until an instant, which a script keeps up to date."""
    if not ms:
        return "–"
    return _time(ms, "in", f"in {span((ms - now_ms) / 1000)}" if ms > now_ms else "now")


def clock(ms: int | None) -> Markup | str:
    """The time of day of an instant, in UTC."""
    if not ms:
        return "–"
    return _time(ms, "clock", hms(ms))


def hms(ms: int) -> str:
    """The time of day of an instant in UTC, as text alone."""
    return utc(ms).strftime("%H:%M:%S")


def _time(ms: int, how: str, text: str) -> Markup:
    return Markup('<time datetime="{0}" title="{0}" data-ms="{1}" data-as="{2}">{3}</time>').format(
        at(ms), ms, how, text
    )


def price(value: Decimal | float | None) -> str:
    """A price with thin spaces between thousands, and every digit that the provider gave."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    whole, dot, rest = f"{Decimal(str(value)):f}".partition(".")
    sign, digits = ("−", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}".replace(",", "\u202f") + dot + rest


def percent(share: float | None) -> str:
    """A share as a signed percentage with two decimals."""
    return "–" if share is None else f"{share * 100:+.2f} %".replace("-", "−")


def ticked(text: str) -> Markup:
    """A sentence whose `commands` stand in backticks."""
    parts = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)
