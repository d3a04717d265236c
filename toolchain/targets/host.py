"""What the machine is: names that make a latency's identity."""

import os
import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_NVIDIA = Path("/proc/driver/nvidia")


def cpu_device() -> str:
    """Return the processor's model, the cores this process may use, operating system and architecture."""
    return f"{_cpu_model()}, {usable_cores()} cores, {platform.system()} {platform.machine()}"


def usable_cores() -> int:
    """Return how many logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def nvidia_device() -> str:
    """Return the name of the first NVIDIA GPU as its driver gives it; empty where there is none."""
    for file in sorted(_NVIDIA.glob("gpus/*/information")):
        return _field(file, "Model")
    return ""


def nvidia_driver() -> str:
    """Return the NVIDIA driver's version line; empty where there is none."""
    return _field(_NVIDIA / "version", "NVRM version")


def _cpu_model() -> str:
    return _field(_CPU_INFO, "model name") or platform.processor() or platform.machine()


def _field(file: Path, name: str) -> str:
    """Return the first value of a `name : value` file of the kernel."""
    if not file.is_file():
        return ""
    for line in file.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
