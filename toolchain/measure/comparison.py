"""Two engines timed against each other: a ratio, its interval, and what may be said about it."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter

from toolchain.measure.latency import Latency


class Verdict(StrEnum):
    """What a comparison allows to say about the candidate."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference"


@dataclass(frozen=True)
class Comparison:
    """The latency of `candidate` relative to `baseline`: below 1 is faster.

    `ratio` is the median of `round_ratios`, which are independent; `low` and `high` bound it. `converged`
    says whether the interval became as narrow as was asked in the time that was given; whether a wider
    one will do is the caller's decision.
    """

    baseline: Latency
    candidate: Latency
    round_ratios: tuple[float, ...]
    ratio: float
    low: float
    high: float
    converged: bool

    @property
    def verdict(self) -> Verdict:
        """`faster` or `slower` only where the interval excludes 1."""
        if self.high < 1:
            return Verdict.FASTER
        if self.low > 1:
            return Verdict.SLOWER
        return Verdict.NO_DIFFERENCE

    def undecided(self, limit: float) -> bool:
        """Tell whether the interval holds a limit: it does not say on which side the ratio is."""
        return self.low <= limit < self.high

    @property
    def half_width(self) -> float:
        """Half the width of the interval, relative to the ratio."""
        return (self.high - self.low) / (2 * self.ratio)

    @property
    def measured(self) -> bool:
        """Whether both latencies are measurements."""
        return self.baseline.measured and self.candidate.measured

    def to_json(self) -> str:
        """Return this comparison as JSON."""
        return _ADAPTER.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> "Comparison":
        """Return the comparison written by `to_json`."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Comparison)
