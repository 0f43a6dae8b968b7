"""Whether a page is well-formed: a browser repairs what is not, each in its own way."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"br", "hr", "img", "input", "link", "meta"}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of <{tag}> stands twice: {names}"
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/> closes itself")

    def handle_endtag(self, tag: str) -> None:
        line, _ = self.getpos()
        assert self.open, f"line {line}: </{tag}> closes nothing"
        assert self.open[-1] == tag, f"line {line}: </{tag}> closes <{self.open[-1]}>"
        self.open.pop()


def check_markup(text: str) -> None:
    """Raise AssertionError for a tag that is not closed, a repeated id or a repeated attribute."""
    tags = _Tags()
    tags.feed(text)
    tags.close()
    assert not tags.open, f"never closed: {tags.open}"
    twice = {found for found in tags.ids if tags.ids.count(found) > 1}
    assert not twice, f"ids that stand twice: {twice}"
