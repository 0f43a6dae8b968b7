"""`python -m local.sandbox`: run the sandbox API until a signal ends it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from local.sandbox.errors import SandboxError
from local.sandbox.faults import Fault
from local.sandbox.plans import PLANS
from local.sandbox.server import SandboxServer
from local.sandbox.wire import Reply, Request

_SWITCH_S: Final = 0.0005  # threads change often, so that a first byte is stamped when it comes


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 after SIGTERM or SIGINT, 2 for arguments it cannot run with."""
    options = _parser().parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    sys.setswitchinterval(_SWITCH_S)
    try:
        server = SandboxServer(
            options.plan,
            options.port,
            options.limit,
            options.window_s,
            host=options.host,
            key=options.key,
            count_refused=options.count_refused,
            faults=[Fault.parse(text) for text in options.fault],
            seed=options.seed,
            tickers=options.tickers,
            day_turns_in_new_york=options.day_turn == "new-york",
            on_request=_print_request if options.verbose else None,
        ).start()
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    log = server.app.log
    counted = f"{log.limit} calls per {log.window_s:g} s" if log.limit else "no limit"
    print(f"sandbox {server.url} plan {options.plan}, {counted}", flush=True)
    ended.wait()
    server.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.sandbox",
        description="A stand-in for the market data provider on this machine.",
        epilog="A fault is KIND[,name=value…]: delay,max_s=2 · html,probability=0.3 · "
        "hang,tickers=C:EURUSD+X:BTCUSD,count=1",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--plan", choices=PLANS, default="spec")
    parser.add_argument("--limit", type=int, help="calls per window, 0 for no limit")
    parser.add_argument("--window-s", type=float, default=60.0)
    parser.add_argument("--key", help="accept this key only; default: any key")
    parser.add_argument(
        "--count-refused",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="requests answered 429 use up the window too (default: yes)",
    )
    parser.add_argument("--fault", action="append", default=[], metavar="FAULT")
    parser.add_argument("--seed", type=int, default=0, help="of the faults' die")
    parser.add_argument("--tickers", action="append", type=Path, default=[], metavar="FILE")
    parser.add_argument(
        "--day-turn",
        choices=("utc", "new-york"),
        default="utc",
        help="when an end-of-day plan publishes a day: at its end, or at New York's midnight",
    )
    parser.add_argument("--verbose", action="store_true", help="a line per request")
    return parser


def _print_request(request: Request, reply: Reply) -> None:
    print(f"{request.method} {request.path} {reply.status}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
