"""`python -m scheduler`: the scheduler process. One is enough; more do no harm."""

import signal
import sys

from redis.exceptions import RedisError

from runtime.context import Context
from runtime.logs import configure
from runtime.masking import complaint
from runtime.redis_outage import diagnose
from runtime.stopping import StopFlag
from scheduler.process import TickScheduler
from settings import Settings, SettingsError
from worker.ticks import Ticks


def main() -> int:
    """Runs until SIGTERM or SIGINT; returns 0 then, and 3 for settings that make no sense."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        print(complaint(error), file=sys.stderr)
        return 3
    configure(settings)
    stop = StopFlag()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Context.open(settings) as context:
        ticks = Ticks(context.redis, context.keys)
        try:
            TickScheduler(context, ticks).run(stop=stop)
        except RedisError as error:
            print(f"assetq: {diagnose(error) or error}", file=sys.stderr)
            return 3
        finally:
            ticks.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
