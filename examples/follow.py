"""Follow every refreshed price. Stop it and start it again, and no event is lost.

    python examples/follow.py redis://127.0.0.1:6379/0

The stream keeps about the last 10,000 events. The id of the last one that was handled lies in a
file; it is written behind each event, so that a crash repeats the last event and loses none.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from redis import Redis

STREAM = "assetq:{massive}:updates"


def handle(event: dict[str, object]) -> None:
    """Replace this by what you do with a price."""
    print(event["timestamp"], event["symbol"], event["last_price"], flush=True)


def follow(redis: Redis, position: Path) -> None:
    """Handle all events since the position, then each new one, for ever."""
    last = position.read_text() if position.exists() else "0-0"
    while True:
        found: Any = redis.xread({STREAM: last}, count=100, block=5_000)
        for _, entries in found:
            for last, fields in entries:
                handle(json.loads(fields["event"]))
                written = position.with_suffix(".new")
                written.write_text(last)
                os.replace(written, position)  # whole or not at all


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/follow.py REDIS_URL")
    follow(Redis.from_url(sys.argv[1], decode_responses=True), Path("follow.position"))
