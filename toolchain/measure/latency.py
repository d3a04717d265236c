"""A latency: never a bare number, but samples and what they mean."""

from dataclasses import dataclass, replace

import numpy as np
from pydantic import TypeAdapter

from toolchain.measure.gpu_state import GpuStates
from toolchain.targets.contract import Clock
from toolchain.targets.engine import Identity


@dataclass(frozen=True)
class Latency:
    """The latencies of single inferences of one engine, with everything needed to read them.

    `samples_ms` are in the order they were taken; `low_ms` and `high_ms` bound the median over fresh
    sessions. `warm_up_runs` and `warm_up_seconds` came before the first sample; `batch` is the first axis
    of the first input.
    """

    samples_ms: tuple[float, ...]
    low_ms: float
    high_ms: float
    clock: Clock
    warm_up_runs: int
    warm_up_seconds: float
    batch: int
    identity: Identity
    disturbed_runs: int = 0
    """Runs that the kernel interrupted and that are therefore not among the samples, where enough others are."""
    gpu: GpuStates | None = None
    """Clocks and temperature of the GPU before and after, where there is one that tells."""
    pace_us: float | None = None
    """The pace of the processor that the samples are given at, where they were timed beside matrix products."""

    @property
    def median_ms(self) -> float:
        """The median, in milliseconds."""
        return float(np.median(self.samples_ms))

    @property
    def p10_ms(self) -> float:
        """The 10th percentile, in milliseconds."""
        return float(np.percentile(self.samples_ms, 10))

    @property
    def p90_ms(self) -> float:
        """The 90th percentile, in milliseconds."""
        return float(np.percentile(self.samples_ms, 90))

    @property
    def half_width(self) -> float:
        """Half the width of the median's interval, relative to the median: the noise of this latency.

        1 where the median is 0: what is below the clock's ticks may as well be twice as long.
        """
        return (self.high_ms - self.low_ms) / (2 * self.median_ms) if self.median_ms else 1.0

    @property
    def precision(self) -> str:
        """The precision the target ran in."""
        return self.identity.precision

    @property
    def measured(self) -> bool:
        """Whether the samples are measurements; otherwise a formula made them."""
        return self.clock is not Clock.MODELLED

    def at_pace(self, pace_us: float) -> "Latency":
        """Return this latency as it would be at another pace of the processor; unchanged where its own is unknown."""
        if self.pace_us is None:
            return self
        factor = pace_us / self.pace_us
        return replace(
            self,
            samples_ms=tuple(sample * factor for sample in self.samples_ms),
            low_ms=self.low_ms * factor,
            high_ms=self.high_ms * factor,
            pace_us=pace_us,
        )

    def to_json(self) -> str:
        """Return this latency as JSON."""
        return _ADAPTER.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> "Latency":
        """Return the latency written by `to_json`."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Latency)
