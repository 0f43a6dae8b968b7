"""A stand-in for the provider's API: its wire format, plans, refusals and limit, on this machine.

`python -m market.sandbox --plan spec` runs it; `SandboxServer` is the same for tests."""

from market.sandbox.arrivals import Arrival, worst_window
from market.sandbox.errors import SandboxError
from market.sandbox.faults import Fault
from market.sandbox.server import SandboxServer

__all__ = ["Arrival", "Fault", "SandboxError", "SandboxServer", "worst_window"]
