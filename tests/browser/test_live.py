"""An open page follows what happens, and outlives every server."""

from __future__ import annotations

import time
from contextlib import ExitStack

from playwright.sync_api import Page

from tests.browser.conftest import Opener
from tests.browser.looking import Tab
from tests.browser.proxy import prefixed
from tests.browser.running import RunningSite
from tests.kit.waiting import eventually
from web.live import MOST_STREAMS

_FETCHED_AT = """(at) => {
  const time = document.querySelector("#a-BTCUSD .times time");
  return time && Number(time.dataset.ms) >= at && Date.now();
}"""

_HIDDEN = """() => {
  Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
  return document.visibilityState;
}"""
_SHOWN = """() => {
  delete document.visibilityState;
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def shown_after_ms(site: RunningSite, page: Page) -> float:
    """From the event of a refresh until an open page of BTCUSD shows it."""
    published_ms, event = site.event_of("BTCUSD", site.ask_for("BTCUSD"))
    handle = page.wait_for_function(_FETCHED_AT, arg=event["observed_at_ms"], polling=10)
    shown_at_ms: float = handle.json_value()
    return shown_at_ms - published_ms


def assert_same_page(tab: Tab) -> None:
    assert tab.page.evaluate("window.opened_once") is True, "it was loaded anew"


def test_a_refresh_is_shown_within_a_second(site: RunningSite, opened: Opener) -> None:
    with opened("freshness?q=BTCUSD") as tab:
        tab.until_live()
        assert shown_after_ms(site, tab.page) < 1000


def test_an_open_page_outlives_redis(site: RunningSite, opened: Opener) -> None:
    with opened("freshness?q=BTCUSD") as tab, opened("") as now:
        tab.until_live()
        tab.page.evaluate("window.opened_once = true")
        site.valkey.kill()
        try:
            now.page.wait_for_selector("main >> text=Redis does not answer", timeout=15_000)
            now.page.wait_for_selector(".level-unhealthy")
        finally:
            site.valkey.start()
        site.context.limiter.reset()  # the sandbox has no limit, so nothing need be held
        now.page.wait_for_selector("#window .picture", timeout=15_000)
        tab.until_live()
        assert shown_after_ms(site, tab.page) < 3000
        assert_same_page(tab)
        tab.forgive_network()
        now.forgive_network()


def test_an_open_page_outlives_postgresql(site: RunningSite, opened: Opener) -> None:
    with opened("freshness?q=BTCUSD") as tab, opened("health") as health:
        tab.until_live()
        tab.page.evaluate("window.opened_once = true")
        site.postgres.kill()
        try:
            health.page.wait_for_selector("#causes >> text=PostgreSQL", timeout=20_000)
        finally:
            site.postgres.start()
        health.page.wait_for_selector(
            "#causes >> text=PostgreSQL", state="detached", timeout=30_000
        )
        tab.until_live()
        assert shown_after_ms(site, tab.page) < 3000
        assert_same_page(tab)


def test_an_open_page_outlives_the_web_process(site: RunningSite, opened: Opener) -> None:
    with opened("freshness?q=BTCUSD") as tab:
        tab.until_live()
        tab.page.evaluate("window.opened_once = true")
        began = time.monotonic()
        site.stop("web")
        assert time.monotonic() - began < 5, "an open stream holds the end up"
        tab.page.wait_for_selector("#link.is-cut", timeout=15_000)
        site.start("web")
        tab.until_live(20)
        assert shown_after_ms(site, tab.page) < 1000
        assert_same_page(tab)
        tab.forgive_network()


def test_everything_works_under_a_prefix(site: RunningSite, opened: Opener) -> None:
    with prefixed(site.port, "/tools/prices") as base, opened("", base=base) as tab:
        tab.until_live()
        tab.page.click("nav[aria-label=Pages] >> text=Freshness")
        tab.page.wait_for_url(f"{base}freshness")
        tab.page.fill("input[name=q]", "BTCUSD")
        tab.page.wait_for_selector("#assets tbody tr:only-child")
        tab.until_live()
        assert shown_after_ms(site, tab.page) < 1000
        tab.page.click(".brand")
        tab.page.wait_for_url(base)


def test_a_page_polls_while_there_are_too_many_streams(site: RunningSite, opened: Opener) -> None:
    with ExitStack() as streams:
        for _ in range(MOST_STREAMS):  # those of the pages before may still end
            eventually(lambda: streams.enter_context(site.stream()), 5)
        with opened("freshness?q=BTCUSD") as tab:
            tab.page.wait_for_selector("#link.is-polling", timeout=10_000)
            assert shown_after_ms(site, tab.page) < 8000
            streams.close()
            tab.until_live(25)


def test_more_windows_than_a_browser_opens_connections(opened: Opener) -> None:
    with opened("") as first:
        tabs = [first]
        for _ in range(8):
            tabs[-1].page.wait_for_selector("#link.is-live, #link.is-polling")
            tabs.append(tabs[0].another("freshness"))
        tabs[-1].page.wait_for_selector("#link.is-polling")
        began = time.monotonic()
        tabs[-1].open("health")
        assert time.monotonic() - began < 5


def test_a_hidden_tab_gives_its_stream_back(site: RunningSite, opened: Opener) -> None:
    with opened("") as tab:
        tab.until_live()
        assert tab.page.evaluate(_HIDDEN) == "hidden"
        with ExitStack() as streams:
            for _ in range(MOST_STREAMS):
                eventually(lambda: streams.enter_context(site.stream()), 5)
        tab.page.evaluate(_SHOWN)
        tab.until_live(25)  # the streams that have just ended may still count
