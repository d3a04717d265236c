"""Cache files of a library, lent out as working copies, and believed only if this tool wrote them for this owner.

The first line of a file holds its owner and the SHA-256 of what follows. A file of which that is not true is put aside
with one warning, and the library begins with an empty cache: a cache only saves time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolchain.measure.cache import cache_folder
from toolchain.measure.lock import device_lock

LOG = logging.getLogger(__name__)
ASIDE_SUFFIX = ".damaged"


def cache_path(kind: str, owner: str) -> Path:
    """Return where the cache of this kind lies that belongs to an owner, which is a hash."""
    return cache_folder() / kind / f"{owner}.cache"


@contextmanager
def pinned_cache(path: Path, owner: str) -> Iterator[Path]:
    """Lend a working copy of the cache at `path`, absent where there is none; keep what it is when the block ends well.

    Other processes wait for the end of the block: builders time kernels, and two at once would disturb each other.
    """
    with device_lock(str(path), lambda _: None, path.parent / "locks"), tempfile.TemporaryDirectory() as folder:
        working = Path(folder, path.name)
        before = _read(path, owner)
        if before:
            working.write_bytes(before)
        yield working
        after = working.read_bytes() if working.exists() else b""
        if after != before:
            _write(path, owner, after)


def _read(path: Path, owner: str) -> bytes:
    """Return the cache's content; empty where there is none to be believed."""
    try:
        head, _, content = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return b""
    except OSError as error:
        LOG.warning("the cache %s cannot be read (%s); a new one is begun", path, error.strerror)
        return b""
    if head == _head(owner, content):
        return content
    aside = path.with_name(path.name + ASIDE_SUFFIX)
    path.replace(aside)
    LOG.warning("the cache %s is damaged or was made elsewhere; a new one is begun, the old one is %s", path, aside)
    return b""


def _write(path: Path, owner: str, content: bytes) -> None:
    """Replace the cache as a whole; what cannot be written is timed anew next time."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(_head(owner, content) + b"\n" + content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        LOG.warning("the cache %s cannot be written: %s", path, error.strerror)


def _head(owner: str, content: bytes) -> bytes:
    return f"{owner} {hashlib.sha256(content).hexdigest()}".encode()
