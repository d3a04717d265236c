"""The folder for what may be made again: locks, latencies, engines."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder, created.

    The first that can be written of: $PRUNEC_CACHE, $XDG_CACHE_HOME/prunec, ~/.cache/prunec, and a folder
    of this user under the system's temporary one.

    Raises OSError where not even that can be written.
    """
    for folder in _candidates():
        if _can_write(folder):
            return folder
    fallback = Path(tempfile.gettempdir(), f"prunec-{os.getuid()}")
    fallback.mkdir(mode=0o700, exist_ok=True)
    return fallback


def _candidates() -> Iterator[Path]:
    if own := os.environ.get("PRUNEC_CACHE"):
        yield Path(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        yield Path(xdg, "prunec")
    if home := os.environ.get("HOME"):
        yield Path(home, ".cache", "prunec")


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
