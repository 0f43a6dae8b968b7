"""Changing something in the browser: with and without JavaScript, and not as a reader."""

from __future__ import annotations

from tests.browser.conftest import Opener
from tests.browser.looking import Tab
from tests.browser.proxy import prefixed
from tests.browser.running import DEAD, READER_PASSWORD, RunningSite
from tests.kit.waiting import eventually

REFRESH = "#a-BTCUSD >> text=Refresh"


def newest_event_ms(site: RunningSite) -> int:
    rows: list[tuple[str, object]] = site.context.redis.xrevrange(  # type: ignore[assignment]
        site.context.keys.updates, count=1
    )
    return int(rows[0][0].partition("-")[0]) if rows else 0


def toast(tab: Tab) -> str:
    tab.page.wait_for_selector("#toast:not([hidden])")
    return tab.page.inner_text("#toast")


def test_refresh_now(site: RunningSite, opened: Opener) -> None:
    with opened("freshness?q=BTCUSD") as tab:
        tab.until_live()
        before = newest_event_ms(site)
        tab.page.click(REFRESH)
        assert toast(tab).startswith("BTCUSD is asked for; expected")
        _, event = site.event_of("BTCUSD", before)
        assert event["priority"] == 1, "its own band, which is more urgent than HIGH"


def test_refresh_now_without_javascript_and_under_a_prefix(
    site: RunningSite, opened: Opener
) -> None:
    with (
        prefixed(site.port, "/x") as base,
        opened("freshness?q=BTCUSD", base=base, java_script_enabled=False) as tab,
    ):
        tab.page.click(REFRESH)
        assert tab.page.inner_text(".told").startswith("BTCUSD is asked for; expected")
        assert tab.page.url.startswith(f"{base}freshness?q=BTCUSD&told=")
        assert tab.page.locator("#assets tbody tr").count() == 1


def test_an_asset_is_paused_and_resumed(opened: Opener) -> None:
    with opened("freshness?q=ETHUSD&sort=symbol") as tab:
        tab.page.click("#a-ETHUSD >> text=Pause")
        tab.page.click("dialog >> text=Yes")
        assert toast(tab) == "ETHUSD is paused."
        tab.page.wait_for_selector("#a-ETHUSD .word-paused")
        tab.page.click("#a-ETHUSD >> text=Resume")
        tab.page.wait_for_selector("#toast >> text=ETHUSD is asked for again.")
        tab.page.wait_for_selector("#a-ETHUSD .word-paused", state="detached")


def test_blocking_shows_on_another_page_at_once_and_is_lifted(
    site: RunningSite, opened: Opener
) -> None:
    with opened("") as tab, opened("health") as health:
        health.until_live()
        tab.page.click("text=Change by hand")
        tab.page.fill("input[name=minutes]", "7")
        tab.page.click("button:text-is('Block')")
        assert "Calls are blocked until" in toast(tab)
        health.page.wait_for_selector("#c-blocked", timeout=5000)
        tab.page.click("text=Lift a block")
        health.page.wait_for_selector("#c-blocked", state="detached", timeout=5000)
        assert "block" in health.page.inner_text("#actions")


def test_calls_made_elsewhere_are_counted(site: RunningSite, opened: Opener) -> None:
    with opened("") as tab:
        tab.page.click("text=Change by hand")
        tab.page.fill("input[name=count]", "3")
        tab.page.click("button:text-is('Count')")
        assert "Counted 3 calls" in toast(tab)
        assert eventually(lambda: "by-hand" in tab.page.content(), 5)
    site.context.limiter.reset()


def test_dead_letters_are_dropped_only_when_one_is_sure(site: RunningSite, opened: Opener) -> None:
    with opened("health") as tab:
        tab.page.click(f"#x-{DEAD} >> text=Retry")
        assert f"Put back into the queue: {DEAD}" in toast(tab)
        tab.page.wait_for_selector(f"#x-{DEAD} >> text=queued again")
        for symbol in ("GONEUSD", "LOSTUSD"):  # no asset of these names revives them
            site.give_up(symbol)
        tab.page.wait_for_selector("#x-LOSTUSD")
        tab.page.click("text=Drop all")
        tab.page.click("dialog >> text=Cancel")
        assert len(site.context.queue.dead()) >= 2
        tab.page.click("text=Drop all")
        tab.page.click("dialog >> text=Yes")
        eventually(lambda: not site.context.queue.dead(), 5)
        tab.page.wait_for_selector("#dead", state="detached")
    site.give_up(DEAD)


def test_a_reader_sees_no_button(opened: Opener) -> None:
    for path in ("", "freshness", "health"):
        with opened(path, user="reader", password=READER_PASSWORD) as tab:
            assert tab.page.locator("form[method=post]").count() == 0
