"""A stand-in for the provider's API: its wire format, plans, refusals and limit, on this machine.

`python -m local.sandbox --plan spec` runs it; `SandboxServer` is the same for tests."""

from local.sandbox.arrivals import Arrival, worst_window
from local.sandbox.errors import SandboxError
from local.sandbox.faults import Fault
from local.sandbox.server import SandboxServer

__all__ = ["Arrival", "Fault", "SandboxError", "SandboxServer", "worst_window"]
