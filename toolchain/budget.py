"""The budget: how fast, and how small, the engine has to become."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

from toolchain.errors import UsageError

PATTERN = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>%|ms)?")


@dataclass(frozen=True)
class Budget:
    """Latency as a share of the original's or in milliseconds, multiply-accumulates and parameters as shares.

    What is None is not limited, but for latency: the engine must not become slower in any case.
    """

    ratio: float | None = None
    latency_ms: float | None = None
    macs: float | None = None
    parameters: float | None = None

    def ratio_of(self, baseline_ms: float) -> float:
        """Return the ratio of latencies that meets the budget, given the original's latency."""
        if self.latency_ms is not None:
            return self.latency_ms / baseline_ms
        return 1.0 if self.ratio is None else self.ratio

    @property
    def latency_text(self) -> str:
        """How the latency was asked for; empty where it was not."""
        share = f"{100 * self.ratio:g}%" if self.ratio is not None else ""
        return f"{self.latency_ms:g}ms" if self.latency_ms is not None else share

    def __str__(self) -> str:
        parts = [
            self.latency_text,
            f"{100 * self.macs:g}% of the MACs" if self.macs is not None else "",
            f"{100 * self.parameters:g}% of the parameters" if self.parameters is not None else "",
        ]
        return " and ".join(part for part in parts if part)


def parse_budget(text: str, *, macs: str = "", parameters: str = "") -> Budget | None:
    """Read a latency (`60%`, `0.6` or `4.5ms`) and shares; None where all are empty.

    Raises UsageError for anything else, and for shares that are not between 0 % and 100 %.
    """
    latency = _latency(text) if text else Budget()
    budget = replace(latency, macs=_share("--macs", macs), parameters=_share("--params", parameters))
    return budget if any(getattr(budget, item.name) is not None for item in fields(budget)) else None


def parse_budgets(text: str) -> list[Budget]:
    """Read several latencies, `80,70,60%`; a unit given once holds for all.

    Raises UsageError as `parse_budget`, and where one is given twice.
    """
    parts = [part.strip() for part in text.split(",")]
    unit = re.sub(r"[\d.\s]", "", parts[-1])
    found = [_latency(part if PATTERN.fullmatch(part) and part[-1:] in "%s" else part + unit) for part in parts]
    if len(set(found)) < len(found):
        raise UsageError(f"--pareto {text}: a budget is given twice", hint="write each once, e.g. 80,70,60%")
    return found


def _latency(text: str) -> Budget:
    match = PATTERN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--budget {text}: not a budget", hint="write a share of the latency (60%) or a time (4.5ms)")
    number = float(match["number"])
    if match["unit"] != "ms":
        return Budget(ratio=_within("--budget", text, number / 100 if match["unit"] else number, "latency"))
    if number <= 0:
        raise UsageError(f"--budget {text}: a time of 0 cannot be met", hint="write a time above 0, e.g. 4.5ms")
    return Budget(latency_ms=number)


def _share(option: str, text: str) -> float | None:
    if not text:
        return None
    match = PATTERN.fullmatch(text.strip())
    if match is None or match["unit"] == "ms":
        raise UsageError(f"{option} {text}: not a share", hint="write a share of the original's, e.g. 50%")
    number = float(match["number"])
    return _within(option, text, number / 100 if match["unit"] else number, option.removeprefix("--"))


def _within(option: str, text: str, share: float, of: str) -> float:
    if 0 < share < 1:
        return share
    raise UsageError(
        f"{option} {text}: {100 * share:g} % of the original {of} is not a budget",
        hint="write a share between 0% and 100%, e.g. 60%",
    )
