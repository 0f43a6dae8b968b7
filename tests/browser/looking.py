"""One open page: what it shows, and what the browser has to say against it."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page

_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (e) =>
  console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
"""
_TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  const clipped = (e) => e.closest(".scroll, .visually-hidden, .skip, thead, pre, nav, svg");
  const right = (e) => Math.min(width, e.closest(".card")?.getBoundingClientRect().right ?? width);
  return [...document.querySelectorAll("body *")]
    .filter((e) => !clipped(e) && e.getBoundingClientRect().right > right(e) + 1)
    .map((e) => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`);
}"""
_NETWORK = "Failed to load resource"


class Tab:
    """A page of the site in a browser."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self._said: list[str] = []
        page.add_init_script(_REPORT_VIOLATIONS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self._said.append(str(error)))

    def _heard(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self._said.append(said.text)

    def another(self, path: str) -> Tab:
        """Open a page in another tab of the same browser."""
        tab = Tab(self.page.context.new_page(), self.base)
        tab.open(path)
        return tab

    def open(self, path: str) -> None:
        """Go to a page."""
        answer = self.page.goto(self.base + path)
        assert answer
        assert answer.ok, answer.status

    def complaints(self) -> list[str]:
        """Errors of scripts, of the policy, and of what was loaded."""
        return self._said

    def forgive_network(self) -> None:
        """A server was away on purpose: forget what failed to load meanwhile."""
        self._said = [text for text in self._said if _NETWORK not in text]

    def too_wide(self) -> list[str]:
        """What stands out to the right of the window, or of its card."""
        found: list[str] = self.page.evaluate(_TOO_WIDE)
        return found

    def barriers(self) -> list[str]:
        """What axe finds serious or critical."""
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']}: {rule['help']}: {node['html'][:160]} {node.get('failureSummary', '')}"
            for rule in found
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"][:3]
        ]

    def main(self) -> str:
        """The text of the page without its frame."""
        return self.page.inner_text("main")

    def until_live(self, timeout_s: float = 10) -> None:
        """Wait until the stream is open."""
        self.page.wait_for_selector("#link.is-live", timeout=timeout_s * 1000)
