"""The contract of queueing/ once more, on a real server (see conftest.py)."""

from tests.unit.test_queueing_quota import *  # noqa: F403
