"""`python -m scheduler`: the one scheduler process (more are harmless)."""

import sys

from runtime.context import Context
from runtime.logs import configure
from scheduler.process import TickScheduler
from settings import Settings, SettingsError
from worker.ticks import Ticks


def main() -> int:
    """Runs until SIGTERM or SIGINT; 0 then, 3 for settings that make no sense."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        print(f"assetq: {error}", file=sys.stderr)
        return 3
    configure(settings)
    with Context.open(settings) as context:
        ticks = Ticks(context.redis, context.keys)
        try:
            TickScheduler(context, ticks).run()
        finally:
            ticks.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
