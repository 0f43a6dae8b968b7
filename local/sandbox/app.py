"""The sandbox's answers: who asks, may they, what is there, and the controls of our own."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from local.sandbox import aggregates, answers, reference, snapshots
from local.sandbox.arrivals import ArrivalLog, worst_window
from local.sandbox.call import Call, Refused
from local.sandbox.faults import BadFault, Fault, FaultBook
from local.sandbox.plans import SandboxPlan
from local.sandbox.series import Series
from local.sandbox.wire import Reply, Request

CONTROL: Final = "/_sandbox/"
_TICKER: Final = r"(?P<ticker>[^/]+)"
_SNAPSHOT: Final = r"/v2/snapshot/locale/global/markets/(?P<market>[^/]+)/tickers"
_ROUTES: Final[tuple[tuple[re.Pattern[str], Callable[..., Reply]], ...]] = tuple(
    (re.compile(pattern), endpoint)
    for pattern, endpoint in (
        (r"/v3/snapshot", snapshots.universal),
        (rf"{_SNAPSHOT}/{_TICKER}", snapshots.one),
        (_SNAPSHOT, snapshots.market),
        (
            rf"/v2/aggs/ticker/{_TICKER}/range/(?P<multiplier>[^/]+)/(?P<timespan>[a-z]+)"
            r"/(?P<since>[^/]+)/(?P<until>[^/]+)",
            aggregates.bars_in_range,
        ),
        (rf"/v2/aggs/ticker/{_TICKER}/prev", aggregates.previous_close),
        (
            r"/v2/aggs/grouped/locale/global/market/(?P<market>[a-z]+)/(?P<on>[^/]+)",
            aggregates.grouped,
        ),
        (r"/v3/reference/tickers", reference.tickers),
        (r"/v1/marketstatus/now", reference.market_status),
    )
)


@dataclass
class App:
    """Everything but the sockets. `key` is the only key accepted, None for any; `now_ms` is the
    market's clock (the limit has the arrivals' own)."""

    plan: SandboxPlan
    series: Series
    log: ArrivalLog
    faults: FaultBook
    key: str | None = None
    day_turns_in_new_york: bool = False
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def answer(self, request: Request) -> Reply:
        """The reply to one arrival, already entered in the log. Order: key, limit, route, plan.

        Faults strike only what has passed key and limit."""
        if request.path.startswith(CONTROL):
            self.log.forget(request.seq)
            return self._control(request)
        tickers = tickers_of(request)
        self.log.describe(request.seq, request.method, request.path, tickers, request.key)
        if not request.key:
            return answers.key_missing()
        if self.key is not None and request.key != self.key:
            return answers.key_unknown()
        if not self.log.admit(request.seq):
            return answers.too_many_requests()
        return self.faults.strike(self._serve(request), request.path, tickers)

    def _serve(self, request: Request) -> Reply:
        call = Call(request, self.plan, self.series, self.now_ms(), self.day_turns_in_new_york)
        if request.method != "GET":
            return answers.page_not_found()
        for pattern, endpoint in _ROUTES:
            if (found := pattern.fullmatch(request.path)) is not None:
                try:
                    return endpoint(call, **found.groupdict())
                except Refused as refused:
                    return refused.reply
        return answers.page_not_found()

    def _control(self, request: Request) -> Reply:
        name = request.path.removeprefix(CONTROL)
        if request.method == "POST" and name == "faults":
            return self._set_faults(request.body)
        if request.method == "POST" and name == "reset":
            self.log.clear()
            return answers.as_reply(200, {"arrivals": 0})
        shown: dict[str, Callable[[Request], object]] = {
            "arrivals": self._arrivals,
            "summary": lambda _: self.summary(),
            "faults": lambda _: {"faults": self.faults.as_json()},
        }
        if request.method != "GET" or name not in shown:
            return answers.page_not_found()
        try:
            return answers.as_reply(200, shown[name](request))
        except ValueError as error:
            return answers.bad_request(str(error))

    def _arrivals(self, request: Request) -> list[dict[str, object]]:
        since_s = float(request.query.get("since", "0"))
        after = int(request.query.get("after", "0"))
        return [a.as_json() for a in self.log.all() if a.wall_s >= since_s and a.seq > after]

    def summary(self) -> dict[str, Any]:
        """Counts over all kept arrivals; `worst_window` is the most in any one window."""
        arrivals = self.log.all()
        statuses = Counter(str(arrival.status) for arrival in arrivals)
        return {
            "plan": self.plan.name,
            "about": self.plan.summary,
            "limit": self.log.limit,
            "window_s": self.log.window_s,
            "total": len(arrivals),
            "worst_window": worst_window((a.mono_s for a in arrivals), self.log.window_s),
            "refused": statuses.get("429", 0),
            "by_status": dict(sorted(statuses.items())),
        }

    def _set_faults(self, body: bytes) -> Reply:
        try:
            wanted = json.loads(body or b"{}")
            if not isinstance(wanted, dict) or not isinstance(wanted.get("faults", []), list):
                raise BadFault('send {"faults": [{"kind": …}, …], "seed": 0}')
            faults = [Fault.build(values) for values in wanted.get("faults", [])]
            self.faults.set(faults, int(wanted.get("seed", 0)))
        except (BadFault, ValueError, TypeError) as error:
            return answers.bad_request(str(error))
        return answers.as_reply(200, {"faults": self.faults.as_json()})


def tickers_of(request: Request) -> Sequence[str]:
    """The tickers a request names, in its path or its query."""
    found = re.search(r"/tickers?/([CX]:[^/]+)", request.path)
    if found:
        return (found.group(1),)
    named = request.query.get("ticker.any_of") or request.query.get("tickers", "")
    return tuple(name for name in named.split(",") if name)
