"""What was seen after a pass."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from toolchain.data.metric import Score
from toolchain.graph.cost import Cost
from toolchain.graph.oracle import Verdict
from toolchain.measure.comparison import Comparison


class Status(StrEnum):
    """What became of a pass' result."""

    ORIGINAL = "original"
    KEPT = "kept"
    UNCHANGED = "unchanged"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, eq=False)
class Check:
    """What the mask oracle said of a pruned model; `relative_error` is against the masked original.

    `inexact` says why the two are not equal by nature; such a check is never passed.
    """

    relative_error: float
    tolerance: float
    passed: bool
    powered: bool
    inexact: tuple[str, ...] = ()

    @classmethod
    def of(cls, verdict: Verdict, inexact: tuple[str, ...] = ()) -> Check:
        """Copy a verdict."""
        return cls(verdict.relative_error, verdict.tolerance, verdict.equal, verdict.powered, inexact)


@dataclass(frozen=True, eq=False)
class Record:
    """One row of the report: what a pass did and what its result is worth.

    `cost` counts one batch; `size_bytes` is the ONNX file's. `reason` says why a result was rolled back, `below_floor`
    that it was for its accuracy.
    """

    name: str
    status: Status
    cost: Cost
    size_bytes: int
    seconds: float
    comparison: Comparison | None = None
    score: Score | None = None
    check: Check | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""
    below_floor: bool = False
