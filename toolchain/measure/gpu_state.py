"""What an NVIDIA GPU's clocks do while it is timed: its state before and after, asked of `nvidia-smi` once each.

A GPU that is hot, or at its power limit, lowers its clock; one that was idle raises it. A latency says little of the
device then, and nothing in the samples tells. Fields are those of `nvidia-smi --help-query-gpu`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

FIELDS = ("clocks.sm", "clocks.max.sm", "temperature.gpu", "power.draw")
REASON_FIELDS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""What newer and older drivers call it."""
TIMEOUT_SECONDS = 10.0
NOTICED = 0.05
"""By which share the clock may differ between before and after."""

IDLE = 0x0000000000000001
REASONS = {
    0x0000000000000004: "power limit",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "thermal slowdown",
    0x0000000000000040: "hardware thermal slowdown",
    0x0000000000000080: "hardware power brake",
}
"""Bits of the active throttle reasons (NVML's nvmlClocksThrottleReason constants) that make a GPU slower."""


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment; None where the driver does not tell."""

    clock_mhz: float | None
    max_clock_mhz: float | None
    temperature_celsius: float | None
    power_watts: float | None
    throttled_by: tuple[str, ...] = ()
    idle: bool = False
    """Whether its clock is low for want of work."""


@dataclass(frozen=True)
class GpuStates:
    """A GPU before and after a timing."""

    before: GpuState
    after: GpuState

    @property
    def complaint(self) -> str:
        """Say what makes the timing doubtful; empty where nothing does."""
        reasons = dict.fromkeys((*self.before.throttled_by, *self.after.throttled_by))
        if reasons:
            return f"the GPU was slowed down while it was timed: {', '.join(reasons)}"
        first, last = self.before.clock_mhz, self.after.clock_mhz
        worked = not (self.before.idle or self.after.idle)
        if worked and first and last and abs(last - first) > NOTICED * first:
            return f"the GPU's clock changed from {first:.0f} to {last:.0f} MHz while it was timed"
        return ""


def read_gpu_state() -> GpuState | None:
    """Return the state of the first GPU; None where there is no `nvidia-smi`, or it has nothing to say."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    found = (_ask(program, (*FIELDS, reasons)) for reasons in REASON_FIELDS)
    return next((state for state in found if state), None)


def _ask(program: str, fields: Sequence[str]) -> GpuState | None:
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_gpu_state(done.stdout)


def parse_gpu_state(text: str) -> GpuState | None:
    """Return the state in a line of `nvidia-smi`'s comma-separated values; None where it is no such line."""
    values = [value.strip() for value in text.partition("\n")[0].split(",")]
    if len(values) != len(FIELDS) + 1:
        return None
    clock, max_clock, temperature, power = (_number(value) for value in values[:-1])
    active = _bits(values[-1])
    slower = tuple(name for bit, name in REASONS.items() if active & bit)
    return GpuState(clock, max_clock, temperature, power, slower, idle=bool(active & IDLE))


def _number(value: str) -> float | None:
    """Return a number; None for what the driver writes instead, such as [N/A]."""
    try:
        return float(value)
    except ValueError:
        return None


def _bits(value: str) -> int:
    try:
        return int(value, 16)
    except ValueError:
        return 0
