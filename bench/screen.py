"""Draws the live view of the `make run` that runs beside it, as SVG.

make run &
python -m bench.screen --seconds 120 > docs/live.svg
"""

import argparse
import io
import re
import sys
import time

from rich.console import Console

from cli.session import load_settings, open_context
from local.live import LiveView
from local.watching import Watcher
from worker.critical import FIRST

WIDTH, HEIGHT = 108, 30
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
    view = LiveView(
        "assetq: the sandbox API (synthetic prices), data in .data",
        settings.priority_assets or FIRST,
        console,
    )
    with open_context(settings) as context:
        watcher = Watcher(context)
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            for refresh in watcher.updates():
                view.refreshed(refresh)
            time.sleep(0.2)
        view.status(watcher.status())
    console.print(view.render())
    picture = console.export_svg(title="make run")
    sys.stdout.write(_FONTS.sub("", picture))  # the reader's own will do; nothing is loaded


if __name__ == "__main__":
    main()
