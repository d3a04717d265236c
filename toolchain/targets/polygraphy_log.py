"""Polygraphy's messages, kept off stdout: errors are collected, so that they can be told in one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from polygraphy.logger import G_LOGGER


@contextmanager
def collected_errors() -> Iterator[list[str]]:
    """Collect what Polygraphy (and TensorRT through it) reports as errors during a block; print nothing."""
    messages: list[str] = []
    handler = _Collector(messages)
    logger = logging.getLogger("Polygraphy")
    before = (G_LOGGER.use_python_logging_system, logger.propagate, G_LOGGER.colors)
    # Colours are off because Polygraphy would print that it misses a package for them.
    G_LOGGER.use_python_logging_system, logger.propagate, G_LOGGER.colors = True, False, False
    logger.addHandler(handler)
    try:
        with G_LOGGER.verbosity(G_LOGGER.ERROR):
            yield messages
    finally:
        logger.removeHandler(handler)
        G_LOGGER.use_python_logging_system, logger.propagate, G_LOGGER.colors = before


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(" ".join(record.getMessage().removeprefix("[E] ").removeprefix("[!] ").split()))
