"""How many threads the linear algebra uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

WORTHWHILE_UNKNOWNS = 1024
"""Matrices below this size are solved sooner by one thread; on a busy machine a hundred times sooner."""


@contextmanager
def algebra_threads(unknowns: int) -> Iterator[None]:
    """Use one thread unless the largest matrix is worth more: waiting threads spin, and take the cores from others."""
    if unknowns >= WORTHWHILE_UNKNOWNS:
        yield
        return
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        yield
