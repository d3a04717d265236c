"""The budget: how fast the engine has to become."""

from __future__ import annotations

import re
from dataclasses import dataclass

from toolchain.errors import UsageError

PATTERN = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>%|ms)?")


@dataclass(frozen=True)
class Budget:
    """A latency as a share of the original's, or in milliseconds; exactly one of the two is given."""

    ratio: float | None = None
    latency_ms: float | None = None

    def ratio_of(self, baseline_ms: float) -> float:
        """Return the ratio that meets the budget, given the original's latency."""
        if self.ratio is not None:
            return self.ratio
        return (self.latency_ms or 0.0) / baseline_ms

    def __str__(self) -> str:
        return f"{100 * self.ratio:g}%" if self.ratio is not None else f"{self.latency_ms:g}ms"


def parse_budget(text: str) -> Budget:
    """Read `60%`, `0.6` or `4.5ms`.

    Raises UsageError for anything else, and for shares that are not between 0 % and 100 %.
    """
    match = PATTERN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--budget {text}: not a budget", hint="write a share of the latency (60%) or a time (4.5ms)")
    number = float(match["number"])
    if match["unit"] == "ms":
        if number <= 0:
            raise UsageError(f"--budget {text}: a time of 0 cannot be met", hint="write a time above 0, e.g. 4.5ms")
        return Budget(latency_ms=number)
    ratio = number / 100 if match["unit"] == "%" else number
    if not 0 < ratio < 1:
        raise UsageError(
            f"--budget {text}: {100 * ratio:g} % of the original latency is not a budget",
            hint="write a share between 0% and 100%, e.g. 60%",
        )
    return Budget(ratio=ratio)
