"""`assetq plan`: what the API key may do, as the provider's answers told."""

from __future__ import annotations

from datetime import date
from typing import Any

import click

from cli.options import as_json
from cli.session import open_context
from cli.show.output import print_facts, print_json, print_table
from health.texts import clock, iso
from market.feed import Feed
from runtime.context import Context, fingerprint
from settings import Settings
from worker.capabilities import Capabilities, Learned


@click.group()
def plan() -> None:
    """What the API key may do, as learned from the provider's answers."""


@plan.command()
@as_json
def show(json_: bool) -> None:
    """What the key may ask for by feed, what was learned of each market, and until when.

    Nothing is asked of the provider. A feed that was not refused may never have been tried. What
    was learned holds for this key, address and tier: another of them starts anew.
    """
    with open_context() as context:
        capabilities = Capabilities(context)
        learned, now_ms = capabilities.learned(), context.redis_now_ms()
        prices, bars = capabilities.price_feed(), capabilities.bars_feed
    if json_:
        uses = {"price_feed": prices.name, "bars_feed": bars.name}
        print_json(_document(context.settings, learned, capabilities.feeds) | uses)
        return
    print_facts([*_about(context), *_learned(learned, now_ms)])
    click.echo()
    print_table(
        ["feed", "may ask", "brings", "delay", ">tickers a call", "the provider's words"],
        [
            (
                feed.name,
                "no" if feed.name in learned.refused else "yes",
                _brings(feed, prices, bars),
                feed.delay,
                feed.max_tickers,
                learned.refused.get(feed.name),
            )
            for feed in capabilities.feeds
        ],
        empty="no feeds",
    )


@plan.command()
def forget() -> None:
    """Forget what was learned of this key, so that the next calls ask anew.

    After an upgrade, for example: otherwise a larger plan is found out within a day. Costs at most
    one refused call for each feed.
    """
    with open_context() as context:
        forgotten = Capabilities(context).forget()
        context.queue.wake()
    click.echo(
        "forgotten; the next call of each feed asks anew"
        if forgotten
        else "nothing was learned yet of this key, address and tier"
    )


def _about(context: Context) -> list[tuple[str, object]]:
    settings = context.settings
    limit = settings.rate_limit
    calls = f"{limit} calls in {settings.rate_window_seconds:g} s" if limit else "no limit"
    key = f"set (fingerprint {fingerprint(settings.api_key)})" if settings.api_key else "not set"
    return [
        ("API key", key),
        ("address", settings.base_url),
        ("tier", f"{settings.polygon_tier.value}: {calls}"),
    ]


def _learned(learned: Learned, now_ms: int) -> list[tuple[str, object]]:
    if not learned.until_ms:
        return [("learned", "nothing yet: the calls to come will tell")]
    absent = len({ticker for _, ticker in learned.absent})
    return [
        ("learned since", clock(learned.since_ms, now_ms)),
        ("asked anew", clock(learned.until_ms, now_ms)),
        *((market, "; ".join(_of_market(learned, market, now_ms))) for market in _markets(learned)),
        ("absent", f"{absent} tickers that a feed does not give" if absent else None),
    ]


def _markets(learned: Learned) -> list[str]:
    return sorted({*learned.published, *learned.unpublished_until_ms, *learned.no_trading})


def _of_market(learned: Learned, market: str, now_ms: int) -> list[str]:
    found = []
    if day := learned.published.get(market):
        found.append(f"published up to {day}")
    if (until_ms := learned.unpublished_until_ms.get(market, 0)) > now_ms:
        found.append(f"newest day not published, asked again {clock(until_ms, now_ms)}")
    if day := learned.no_trading.get(market):
        found.append(f"did not trade on {day}")
    return found or ["newest day was not published at first"]


def _brings(feed: Feed, prices: Feed, bars: Feed) -> str:
    uses = [what for what, one in (("prices", prices), ("bars", bars)) if one.name == feed.name]
    return f"{' and '.join(uses)} (in use)" if uses else "bars" if feed.brings_bars else "prices"


def _document(settings: Settings, learned: Learned, feeds: tuple[Feed, ...]) -> dict[str, Any]:
    return {
        "key": fingerprint(settings.api_key) if settings.api_key else None,
        "base_url": settings.base_url,
        "tier": settings.polygon_tier.value,
        "limit": settings.rate_limit,
        "window_seconds": settings.rate_window_seconds,
        "learned_since": iso(learned.since_ms),
        "asked_anew_at": iso(learned.until_ms),
        "feeds": [
            {
                "feed": feed.name,
                "refused": feed.name in learned.refused,
                "words": learned.refused.get(feed.name),
                "delay": feed.delay,
                "tickers_per_call": feed.max_tickers,
                "brings_bars": feed.brings_bars,
            }
            for feed in feeds
        ],
        "markets": [
            {
                "market": market,
                "published": _text(learned.published.get(market)),
                "not_asked_until": iso(learned.unpublished_until_ms.get(market)),
                "no_trading": _text(learned.no_trading.get(market)),
            }
            for market in _markets(learned)
        ],
        "absent": [{"feed": feed, "ticker": ticker} for feed, ticker in sorted(learned.absent)],
    }


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None
