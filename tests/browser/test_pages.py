"""Each page as it is shown: any width, either theme, with and without JavaScript."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Opener
from tests.browser.running import RunningSite

PAGES = {"": "Now", "freshness": "Freshness", "quota": "Quota", "health": "Health"}
"""Address of a page → its name in the navigation, and its heading."""
OTHERS = {"asset?symbol=BTCUSD": "BTCUSD"}
"""Address of a page that others lead to → how its heading begins."""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("path", [*PAGES, *OTHERS])
def test_a_page_fits_and_bars_nobody(opened: Opener, path: str, width: int, theme: str) -> None:
    with opened(path, width=width, theme=theme) as tab:
        tab.until_live()
        heading = {**PAGES, **OTHERS}[path]
        assert tab.page.inner_text("h1").startswith(heading)
        assert tab.page.title() == f"{heading} · assetq"
        assert tab.too_wide() == []
        assert tab.barriers() == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_no_javascript(opened: Opener, path: str) -> None:
    with opened(path, java_script_enabled=False) as tab:
        assert tab.page.inner_text("h1") == PAGES[path]
        for name in PAGES.values():
            tab.page.click(f"nav[aria-label=Pages] >> text={name}")
            assert tab.page.inner_text("h1") == name


def test_freshness_is_filtered_without_javascript(opened: Opener) -> None:
    with opened("freshness", java_script_enabled=False) as tab:
        tab.page.fill("input[name=q]", "eur/usd")
        tab.page.click("text=Apply")
        assert tab.page.locator("#assets tbody tr").count() == 1
        assert "q=eur" in tab.page.url


def test_freshness_is_filtered_while_one_types(opened: Opener) -> None:
    with opened("freshness") as tab:
        tab.page.fill("input[name=q]", "bitcoin/us")
        tab.page.wait_for_selector("#assets tbody tr:only-child#a-BTCUSD")
        assert tab.page.url.endswith("?q=bitcoin%2Fus&sort=over")
        assert tab.page.input_value("input[name=q]") == "bitcoin/us", "typing is not disturbed"


def test_the_keyboard_reaches_the_content_first(opened: Opener) -> None:
    with opened("") as tab:
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate("document.activeElement.textContent") == "Skip to the content"
        tab.page.keyboard.press("Enter")
        assert tab.page.evaluate("document.activeElement.id") == "main"


def test_health_shows_what_was_given_up(site: RunningSite, opened: Opener) -> None:
    site.give_up("GONEUSD")  # no asset of this name revives it
    with opened("health") as tab:
        assert "the provider does not know this ticker" in tab.page.inner_text("#x-GONEUSD")
    site.context.queue.drop_dead(["GONEUSD"])


def test_a_tab_hears_scripts_policy_and_axe_complain(opened: Opener) -> None:
    """Without this the other tests might pass because nobody listens."""
    with opened("") as tab:
        tab.page.evaluate("setTimeout(() => { throw new Error('of a script') })")
        tab.page.evaluate("document.body.appendChild(document.createElement('style'))")
        tab.page.evaluate(
            """document.querySelector("footer").innerHTML = "<p id=pale>Pale</p>";
               document.getElementById("pale").attributeStyleMap.set("color", "#eee");
               document.getElementById("pale").attributeStyleMap.set("min-width", CSS.px(9000))"""
        )
        assert any("Pale" in barrier for barrier in tab.barriers())
        assert any("Pale" in text for text in tab.too_wide())
        heard = tab.complaints()
        for part in ("of a script", "policy: style-src"):
            assert any(part in said for said in heard), heard
        heard.clear()
