"""The queue as a story: read test_queue.py from top to bottom."""
