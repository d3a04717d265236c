"""Folders for what is half done: removed at the end, and by the next run where a kill was the end."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ATTEMPTS = 3


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Give a fresh folder in `parent`, by default the system's for temporary files; it is gone when the block ends.

    It is locked as long as its process lives. A folder of the same prefix that nobody has locked is one that a killed
    process left, and is removed first: a prefix must be one that nothing else uses.

    Raises OSError where `parent` cannot be written.
    """
    parent = parent or Path(tempfile.gettempdir())
    _remove_abandoned(parent, prefix)
    folder, lock = _locked_folder(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for path in parent.iterdir():
        if not path.name.startswith(prefix):
            continue
        with suppress(OSError):  # in use, gone, or somebody else's
            lock = _lock(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """Make a folder and lock it; again where another process took it for abandoned between the two."""
    for _ in range(ATTEMPTS):
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        with suppress(BlockingIOError, FileNotFoundError):
            return folder, _lock(folder)
    raise OSError(f"{parent}: temporary folders vanish")


def _lock(folder: Path) -> int | None:
    """Return the open, locked folder, or None on a file system without locks.

    Raises BlockingIOError where another process has locked it, FileNotFoundError where it is gone, OSError where it
    is not a folder of this user.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()  # it may have been removed by the one that had locked it
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
