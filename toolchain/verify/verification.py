"""What a verification found, check by check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from toolchain.emit.report import AccuracyFigure, Frozen, LatencyFigure
from toolchain.errors import ExitCode


class Finding(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    INEXACT = "inexact"
    """What was cut is not exact by nature; the deviation was measured, and nothing else can be said of it."""
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Inexact:
    """What a check measured that can be neither passed nor failed."""

    text: str


class CheckFigure(Frozen):
    """One check: what was found, or why it was not looked at; `exit_code` is that of a failure."""

    name: str
    finding: Finding
    text: str
    seconds: float
    exit_code: int = ExitCode.MET


class Verification(Frozen):
    """Every check of a bundle, in order, with what was measured anew."""

    schema_version: Literal[1] = 1
    bundle: str
    checksums_sha256: str
    """Hash of SHA256SUMS: kept elsewhere, it tells whether this is the bundle that was meant."""
    checks: tuple[CheckFigure, ...]
    latency: LatencyFigure | None = None
    accuracy: AccuracyFigure | None = None

    @property
    def failure(self) -> CheckFigure | None:
        """The first check that failed."""
        return next((item for item in self.checks if item.finding is Finding.FAILED), None)

    @property
    def outcome(self) -> str:
        """One word."""
        if self.failure:
            return "rejected"
        return "inexact" if any(item.finding is Finding.INEXACT for item in self.checks) else "verified"

    @property
    def exit_code(self) -> int:
        """The exit code of the first failure."""
        return self.failure.exit_code if self.failure else ExitCode.MET
