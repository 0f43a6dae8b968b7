"""Draws the live view of the `make run` that runs beside it, as SVG.

make run &
python -m bench.screen --seconds 120 > docs/live.svg
"""

import argparse
import io
import re
import sys
import time

from rich.console import Console, Group

from cli.session import load_settings, open_context
from local.following import follow
from local.live import TITLE, LiveView
from local.screen import draw
from local.watching import Watcher
from worker.critical import last_known

WIDTH, HEIGHT = 100, 30
_FONTS = re.compile(r"\s*@font-face \{.*?\n    \}", re.DOTALL)


def main() -> None:
    """Watches for some seconds, then prints the last screen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    seconds = parser.parse_args().seconds
    settings = load_settings()
    console = Console(
        record=True, force_terminal=True, width=WIDTH, height=HEIGHT, file=io.StringIO()
    )
    with open_context(settings) as context:
        view = Recorded(TITLE, last_known(context), console)
        follow(Watcher(context), view, seconds)
    console.print(Group(*draw(view.board, WIDTH, HEIGHT)))
    picture = console.export_svg(title="make run")
    sys.stdout.write(_FONTS.sub("", picture))  # the reader's own will do; nothing is loaded


class Recorded(LiveView):
    """A live view that is drawn at the end alone."""

    def wait(self, seconds: float) -> bool:
        """Let this time pass."""
        time.sleep(seconds)
        return False


if __name__ == "__main__":
    main()
