"""Loaded by every Python process of a soak (PYTHONPATH): skews its clock, and may break the quota.

SOAK_SKEW_S    added to time.time and time.time_ns
SOAK_LIMITER   "naive": the quota becomes a plain sliding log of grants, as other limiters are
"""

import os
import time

_skew_s = float(os.environ.get("SOAK_SKEW_S", "0"))
if _skew_s:
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + _skew_s
    time.time_ns = lambda: _time_ns() + int(_skew_s * 1e9)

if os.environ.get("SOAK_LIMITER") == "naive":
    import queueing.scripts as scripts

    _source = scripts.source
    _RULES = (
        # a grant counts for one window, whenever it arrives; answers change nothing; no epoch
        ("return policy.send_ms + policy.window_ms + policy.guard_ms", "return policy.window_ms"),
        (
            "then return 0 end\n  local until_ms",
            "then return 0 end\n  do return 0 end\n  local until_ms",
        ),
        ("then return end\n  local epoch", "then return end\n  do return end\n  local epoch"),
    )

    def _naive(name: str) -> str:
        text = _source(name)
        for rule, broken in _RULES:
            if name == "claim" and text.count(rule) != 1:
                raise LookupError(f"the rule to break is not in the script: {rule!r}")
            text = text.replace(rule, broken)
        return text

    vars(scripts)["source"] = _naive
