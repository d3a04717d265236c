"""Run what may hang, crash or eat the memory in a process of its own, with bounds that the kernel enforces.

Processor time is bounded, not time on the clock: a busy machine must not make a good model fail.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from math import ceil
from pathlib import Path

CLOCK_FACTOR = 20
"""Times the processor time after which a process is ended that does nothing but wait."""
START_SECONDS = 60
"""On the clock, for starting and importing on the slowest machine."""


@dataclass(frozen=True)
class Allowance:
    """What a process may take, beyond what it has taken when it says so by `enter`."""

    processor_seconds: int
    memory_bytes: int

    def enter(self) -> None:
        """Bound this process from here on, and keep it on one core, so that clock and processor go alike."""
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        seconds = ceil(time.process_time() + self.processor_seconds)
        _bound(resource.RLIMIT_CPU, seconds)
        _bound(resource.RLIMIT_DATA, _data_bytes() + self.memory_bytes)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@dataclass(frozen=True)
class Ending:
    """How a process ended: `signal` is 0 where it ended by itself, and then `output` is what it printed."""

    output: str
    signal: int = 0

    @property
    def is_out_of_time(self) -> bool:
        """Tell whether it was ended for taking too long."""
        return self.signal in (signal.SIGXCPU, signal.SIGKILL)


def run_isolated(module: str, request: str, allowance: Allowance) -> Ending:
    """Run a module with a text on its standard input; it is to call `allowance.enter` itself.

    No shell, no pickle. The process ends with this one's call, however that ends.
    """
    clock_seconds = START_SECONDS + CLOCK_FACTOR * allowance.processor_seconds
    command = [sys.executable, "-m", module]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_environment()
    ) as process:
        try:
            output, _ = process.communicate(request, timeout=clock_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return Ending("", signal.SIGKILL)
        except BaseException:
            process.kill()  # leaving the block would wait for it
            raise
    return Ending(output, max(-process.returncode, 0))


def _environment() -> dict[str, str]:
    """Return this process's environment, with this very package first among what can be imported."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _bound(kind: int, value: int) -> None:
    """Set a limit for good; a lower one that the user's shell or container has set stays, since none can be raised."""
    _, hard = resource.getrlimit(kind)
    lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (lowest, lowest))


def _data_bytes() -> int:
    """Return what RLIMIT_DATA counts of this process."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmData")))
