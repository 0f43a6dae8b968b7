"""A browser and a site for these tests; skipped where this machine has no Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.finding import find_chromium
from tests.browser.looking import Tab
from tests.browser.running import PASSWORD, RunningSite, running_site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip("there is no Chromium: install Debian's `chromium`, or set CHROMIUM=/path")
    with sync_playwright() as playwright:
        # Without its sandbox it also runs as root; it opens nothing but our own pages.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(
    browser: Browser, project_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSite]:
    tmp = tmp_path_factory.mktemp("site")
    with running_site(project_root, tmp, limit=30, spacing_s=1) as site:
        yield site
        assert "web.defect" not in site.log("web")


class Opener:
    """Opens pages, each in a context of its own, that must not complain."""

    def __init__(self, browser: Browser, site: RunningSite) -> None:
        self._browser, self._site = browser, site

    @contextmanager
    def __call__(
        self,
        path: str = "",
        *,
        width: int = 1600,
        theme: Any = "light",
        user: str = "admin",
        password: str = PASSWORD,
        base: str = "",
        **options: Any,
    ) -> Iterator[Tab]:
        context = self._browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            http_credentials={"username": user, "password": password},
            **options,
        )
        try:
            tab = Tab(context.new_page(), base or self._site.url)
            tab.open(path)
            yield tab
            assert tab.complaints() == []
        finally:
            context.close()


@pytest.fixture
def opened(browser: Browser, site: RunningSite) -> Opener:
    return Opener(browser, site)
