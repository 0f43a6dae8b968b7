"""The contract of queueing/ once more, on a real server (see conftest.py)."""

from tests.unit.test_queueing_enqueue import *  # noqa: F403
from tests.unit.test_queueing_leases import *  # noqa: F403
