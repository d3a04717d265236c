"""One engine out of several builds of a model: libraries that choose kernels by timing them build no two alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path

import numpy as np
from polygraphy.backend.base import BaseRunner

from toolchain.targets.contract import Feeds
from toolchain.targets.engine import note_builds

WARM_UP_RUNS = 10
ROUNDS = 15
TURN_RUNS = 5


class Best(StrEnum):
    """Which of several builds is kept."""

    FASTEST = "fastest"
    MEDIAN = "median"
    """The one in the middle, the lower of two: what a single build may be expected to give."""


def keep_one(
    build: Callable[[Path], None],
    runner: Callable[[Path], BaseRunner],
    feeds: Feeds,
    path: Path,
    builds: int,
    best: Best,
) -> int:
    """Build so many times, time the builds in turns, move the one to keep to `path`; return its number.

    `build` writes an engine to the path it is given. The medians are noted beside the engine, in the order of the
    builds.
    """
    candidates = [path.with_name(f"build-{number}") / path.name for number in range(builds)]
    for candidate in candidates:
        candidate.parent.mkdir()
        build(candidate)
    medians_ms = _medians_ms([runner(candidate) for candidate in candidates], feeds)
    kept = choose(medians_ms, best)
    for file in candidates[kept].parent.iterdir():
        file.rename(path.with_name(file.name))
    for candidate in candidates:
        shutil.rmtree(candidate.parent)
    note_builds(path, medians_ms)
    return kept


def choose(medians_ms: Sequence[float], best: Best) -> int:
    """Return the number of the build to keep."""
    order = sorted(range(len(medians_ms)), key=lambda number: medians_ms[number])
    return order[0] if best is Best.FASTEST else order[(len(order) - 1) // 2]


def _medians_ms(runners: Sequence[BaseRunner], feeds: Feeds) -> tuple[float, ...]:
    """Return each runner's median latency, all open at once and run in turns, so that they are disturbed alike."""
    samples_ms: list[list[float]] = [[] for _ in runners]
    with ExitStack() as stack:
        for runner in runners:
            stack.enter_context(runner)
            _run(runner, feeds, WARM_UP_RUNS)
        for _ in range(ROUNDS):
            for number, runner in enumerate(runners):
                samples_ms[number] += _run(runner, feeds, TURN_RUNS)
    return tuple(float(np.median(found)) for found in samples_ms)


def _run(runner: BaseRunner, feeds: Feeds, runs: int) -> list[float]:
    found = []
    for _ in range(runs):
        runner.infer(feeds, check_inputs=False)
        found.append(runner.last_inference_time() * 1e3)
    return found
