"""How busy the machine is that something is timed on."""

from __future__ import annotations

import re
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")
SOME = re.compile(r"^some avg10=(?P<percent>[\d.]+) ", re.MULTILINE)


def waiting_share(pressure: Path = PRESSURE) -> float | None:
    """Return the share of the last ten seconds in which some process waited for a processor, from 0 to 1.

    A process that is alone waits for none, however much it computes. None where the kernel does not tell.
    Linux, pressure stall information: https://docs.kernel.org/accounting/psi.html
    """
    try:
        found = SOME.search(pressure.read_text())
    except OSError:  # another system, or a kernel that was told not to keep it
        return None
    return float(found["percent"]) / 100 if found else None
