"""Latency store: what was timed once is not timed again."""
