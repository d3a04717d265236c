"""How engines are timed: warmed up, interleaved, in fresh sessions, until the interval is narrow enough.

Two sessions of one and the same engine differ by about half a percent for as long as they live, by where
their memory happens to lie; no number of runs averages that out. So timing is made of rounds. A round of
a comparison opens both engines anew, in alternating order, and times them in short turns A B B A, which
cancels drift. It yields one value, the ratio of the two lower quartiles: other processes only ever add time,
and on two crowded cores this ratio spread over 3 % where that of the medians spread over 30 %. The ratio and
its interval are the median of these values and its bootstrap over rounds.

A run during which the kernel took the processor away is not a run of the engine. It is told by the process' count of
involuntary context switches, and left out of its round. Where hardly any other is left, such runs count with the
processor time they took, if the target keeps a single thread busy: on an idle machine that is their latency. Measured
with more processes than cores: a run of 3.3 ms was always interrupted, one of 2.2 ms hardly ever, and without this
their ratio of 60 % was read as 30 %.
"""

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from polygraphy.backend.base import BaseRunner

from toolchain.errors import UsageError
from toolchain.measure.comparison import Comparison
from toolchain.measure.gpu_state import GpuState, GpuStates, read_gpu_state
from toolchain.measure.interval import median_interval
from toolchain.measure.latency import Latency
from toolchain.targets.contract import Target
from toolchain.targets.engine import Engine

Feeds = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """One inference, and whether the kernel interrupted it: then its time on the processor, where that is known."""

    milliseconds: float
    disturbed: bool


Turn = Callable[[], list[Run]]

FEWEST_RUNS = 3
"""With fewer undisturbed runs in a round, the disturbed ones count too."""


@dataclass(frozen=True)
class Protocol:
    """How long to time, and how sure to be.

    Before the first round each engine runs for `warm_up_seconds` and at least `warm_up_runs` times; each
    fresh session runs `session_runs` times before it counts. A turn drops its first `settle_runs` runs,
    while caches refill, and then lasts for `turn_ms` and at least `turn_runs` runs. A round takes as many
    A B B A blocks of turns as fill `round_ms`, one at least.

    Rounds are added to the first `min_rounds` until the interval at this `confidence` reaches no farther
    than `half_width` (relative) to either side, or until `max_seconds` have passed.
    """

    warm_up_seconds: float = 1.0
    warm_up_runs: int = 10
    session_runs: int = 3
    settle_runs: int = 1
    turn_ms: float = 15.0
    turn_runs: int = 3
    round_ms: float = 300.0
    min_rounds: int = 12
    max_seconds: float = 10.0
    half_width: float = 0.01
    confidence: float = 0.99


_ONCE = Protocol(
    warm_up_seconds=0,
    warm_up_runs=0,
    session_runs=0,
    settle_runs=0,
    turn_ms=0,
    turn_runs=1,
    round_ms=0,
    min_rounds=1,
)


def measure(target: Target, engine: Engine, feeds: Feeds, *, protocol: Protocol, rng: np.random.Generator) -> Latency:
    """Time one engine over rounds of a fresh session each."""
    subject = _Subject(target, engine, feeds, protocol if target.measured else _ONCE)
    subject.warm_up()
    before = _gpu_state(engine)

    def one_round(_: int) -> float:
        with subject.session() as turn:
            subject.add_round([run for _ in _blocks(subject.protocol) for run in turn()])
        return float(np.median(subject.rounds_ms[-1]))

    _rounds(one_round, subject.protocol, rng)
    return subject.latency(rng, _gpu_states(before, engine))


def compare(
    target: Target,
    baseline: Engine,
    candidate: Engine,
    feeds: Feeds,
    *,
    protocol: Protocol,
    rng: np.random.Generator,
    candidate_target: Target | None = None,
) -> Comparison:
    """Time two engines against each other, fed with the same inputs; both are of one target unless two are given.

    Raises UsageError where two targets read different clocks.
    """
    other = candidate_target or target
    require_one_clock(target, other)
    if not target.measured:
        protocol = _ONCE
    subjects = [_Subject(target, baseline, feeds, protocol), _Subject(other, candidate, feeds, protocol)]
    for subject in subjects:
        subject.warm_up()
    before = _gpu_state(baseline, candidate)

    def one_round(number: int) -> float:
        outer, inner = subjects if number % 2 == 0 else reversed(subjects)
        outer_runs: list[Run] = []
        inner_runs: list[Run] = []
        with outer.session() as outer_turn, inner.session() as inner_turn:
            for _ in _blocks(protocol):
                outer_runs += outer_turn()
                inner_runs += inner_turn() + inner_turn()
                outer_runs += outer_turn()
        outer.add_round(outer_runs)
        inner.add_round(inner_runs)
        before, after = (np.percentile(subject.rounds_ms[-1], 25) for subject in subjects)
        return float(after / before)

    ratios, converged = _rounds(one_round, protocol, rng)
    gpu = _gpu_states(before, baseline, candidate)
    low, high = median_interval(ratios, protocol.confidence, rng)
    return Comparison(
        baseline=subjects[0].latency(rng, gpu),
        candidate=subjects[1].latency(rng, gpu),
        round_ratios=tuple(ratios.tolist()),
        ratio=float(np.median(ratios)),
        low=low,
        high=high,
        converged=converged,
    )


def require_one_clock(one: Target, other: Target) -> None:
    """Raise UsageError where two targets read different clocks: what one includes the other leaves out."""
    if one.clock is not other.clock:
        what = f"{one.name} is timed on the clock '{one.clock}', {other.name} on '{other.clock}': they do not compare"
        raise UsageError(what, hint="TensorRT has timed_on=host; what is modelled compares with nothing measured")


def _blocks(protocol: Protocol) -> Iterator[None]:
    """Yield until the round is over, at least once."""
    start = time.perf_counter()
    yield
    while (time.perf_counter() - start) * 1e3 < protocol.round_ms:
        yield


def _rounds(
    one_round: Callable[[int], float], protocol: Protocol, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], bool]:
    """Collect rounds until the interval of their median is narrow enough, and say whether it became so."""
    start = time.perf_counter()
    values: list[float] = []
    while True:
        values.append(one_round(len(values)))
        if len(values) < protocol.min_rounds:
            continue
        found = np.array(values)
        low, high = median_interval(found, protocol.confidence, rng)
        converged = (high - low) / 2 <= protocol.half_width * float(np.median(found))
        if converged or time.perf_counter() - start > protocol.max_seconds:
            return found, converged


class _Subject:
    """One engine being timed: opens its sessions, keeps its samples."""

    def __init__(self, target: Target, engine: Engine, feeds: Feeds, protocol: Protocol) -> None:
        self.target = target
        self.engine = engine
        self.feeds = feeds
        self.protocol = protocol
        self.rounds_ms: list[list[float]] = []
        self.disturbed_runs = 0
        self.warm_up_runs: list[Run] = []

    def warm_up(self) -> None:
        """Run until both time and runs are enough."""
        with self.target.runner(self.engine) as runner:
            self.warm_up_runs = self._run(runner, self.protocol.warm_up_runs, self.protocol.warm_up_seconds * 1e3)

    def add_round(self, runs: list[Run]) -> None:
        """Keep a round's runs, the undisturbed ones if there are enough."""
        kept = undisturbed(runs)
        self.disturbed_runs += len(runs) - len(kept)
        self.rounds_ms.append([run.milliseconds for run in kept])

    @contextmanager
    def session(self) -> Iterator[Turn]:
        """Open the engine anew and yield a function that takes one turn's samples."""
        with self.target.runner(self.engine) as runner:
            self._run(runner, self.protocol.session_runs)
            yield lambda: self._turn(runner)

    def latency(self, rng: np.random.Generator, gpu: GpuStates | None) -> Latency:
        """Return what was collected."""
        medians_ms = np.array([np.median(samples_ms) for samples_ms in self.rounds_ms])
        low, high = median_interval(medians_ms, self.protocol.confidence, rng)
        first = next(iter(self.feeds.values()))
        return Latency(
            samples_ms=tuple(chain.from_iterable(self.rounds_ms)),
            low_ms=low,
            high_ms=high,
            clock=self.target.clock,
            warm_up_runs=len(self.warm_up_runs),
            warm_up_seconds=sum(run.milliseconds for run in self.warm_up_runs) / 1e3,
            batch=first.shape[0] if first.ndim else 1,
            identity=self.engine.identity,
            disturbed_runs=self.disturbed_runs,
            gpu=gpu,
        )

    def _turn(self, runner: BaseRunner) -> list[Run]:
        self._run(runner, self.protocol.settle_runs)
        return self._run(runner, self.protocol.turn_runs, self.protocol.turn_ms)

    def _run(self, runner: BaseRunner, runs: int, at_least_ms: float = 0) -> list[Run]:
        """Run at least so many times and at least so long."""
        done: list[Run] = []
        start = time.perf_counter()
        while len(done) < runs or (time.perf_counter() - start) * 1e3 < at_least_ms:
            done.append(self._run_once(runner))
        return done

    def _run_once(self, runner: BaseRunner) -> Run:
        interruptions, processor = _interruptions(), time.process_time()
        runner.infer(self.feeds, check_inputs=False)
        elapsed = runner.last_inference_time()
        if _interruptions() == interruptions:
            return Run(elapsed * 1e3, disturbed=False)
        if self.target.single_threaded:
            elapsed = min(elapsed, time.process_time() - processor)
        return Run(elapsed * 1e3, disturbed=True)


def undisturbed(runs: Sequence[Run]) -> Sequence[Run]:
    """Return the runs that the kernel did not interrupt, or all where these are too few."""
    quiet = [run for run in runs if not run.disturbed]
    return quiet if len(quiet) >= FEWEST_RUNS else runs


def _gpu_state(*engines: Engine) -> GpuState | None:
    """Return the state of the GPU that an engine runs on, warmed up; None where all run on a processor."""
    return read_gpu_state() if any(engine.identity.driver for engine in engines) else None


def _gpu_states(before: GpuState | None, *engines: Engine) -> GpuStates | None:
    after = _gpu_state(*engines)
    return GpuStates(before, after) if before and after else None


def _interruptions() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
