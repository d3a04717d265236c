"""One run at a time on a device, so that two runs never time each other."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from toolchain.measure.cache import cache_folder


@contextmanager
def device_lock(device: str, notify: Callable[[str], None], folder: Path | None = None) -> Iterator[None]:
    """Hold the exclusive lock of `device`; if another process has it, call `notify` once and wait.

    The kernel releases the lock when its holder ends, however it ends. `folder` defaults to `locks` in
    the cache.
    """
    folder = folder or cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(device.encode()).hexdigest()}.lock"
    with path.open("a+") as file:
        _acquire(file, device, notify)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _acquire(file: TextIO, device: str, notify: Callable[[str], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        notify(f"waiting: process {file.read() or 'unknown'} is using {device}")
        fcntl.flock(file, fcntl.LOCK_EX)
