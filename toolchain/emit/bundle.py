"""The bundle: the output directory, whole or absent.

Everything is written into a temporary sibling, flushed, and changes places with the bundle that was there before, in
one step: whatever happens, and whenever, either the one or the other is there, whole.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx

from toolchain.errors import UsageError
from toolchain.graph.hashing import file_sha256
from toolchain.scratch import scratch_folder

CHECKSUMS = "SHA256SUMS"
REPORT = "report.json"
MANIFEST = "manifest.json"
EXTERNAL_DATA_BYTES = onnx.checker.MAXIMUM_PROTOBUF - (1 << 20)
RELATIVE_TO_HERE, EXCHANGE = -100, 2
"""Linux's AT_FDCWD and RENAME_EXCHANGE."""


def check_output(directory: Path) -> None:
    """Refuse an output that cannot be written, or that holds something other than a bundle."""
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"-o {directory}: a file is in the way", hint="name a folder")
    foreign = directory.is_dir() and any(directory.iterdir()) and not (directory / REPORT).exists()
    if foreign:
        raise UsageError(f"-o {directory}: the folder holds something other than a bundle", hint="name a new folder")
    if directory.is_mount() or Path.cwd().is_relative_to(directory.resolve()):
        raise UsageError(
            f"-o {directory}: a mount point, or the folder you are in, cannot be replaced by a bundle",
            hint=f"name a folder in it: -o {directory / 'build'}",
        )
    nearest = next(folder for folder in directory.absolute().parents if folder.exists())
    with _reporting(directory), tempfile.TemporaryDirectory(dir=nearest, prefix=".prunec-"):
        pass


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written before anything is made that is to go there."""
    if path.exists() and not path.is_file():
        return
    with _reporting(path), tempfile.TemporaryFile(dir=path.absolute().parent):
        pass


@contextmanager
def new_bundle(directory: Path) -> Iterator[Path]:
    """Give a folder to fill; when the block ends without an error it becomes the bundle."""
    parent = directory.absolute().parent
    with _reporting(directory):
        parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(f".{directory.name}.prunec-", parent) as scratch:
            content = scratch / "new"
            content.mkdir()
            yield content
            _flush(content.rglob("*"))
            _replace(directory, content, scratch / "old")


def write_checksums(directory: Path) -> None:
    """Write SHA256SUMS over every other file, in the format of `sha256sum -c`."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    sums = {path.relative_to(directory).as_posix(): file_sha256(path) for path in files}
    (directory / CHECKSUMS).write_text(checksum_text(sums))


def checksum_text(sums: Mapping[str, str]) -> str:
    """Return the one way of writing hashes by path: a line a file, in the order given."""
    return "".join(f"{sha256}  {path}\n" for path, sha256 in sums.items())


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model that reads back as it is; weights go to a file beside it above protobuf's limit."""
    if model.ByteSize() < EXTERNAL_DATA_BYTES:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # onnx.save moves the weights out of the model it is given
    onnx.save(copy, path, save_as_external_data=True, location=f"{path.name}.data")


def _replace(directory: Path, content: Path, old: Path) -> None:
    """Rename `content` to `directory`.

    What was there changes places with it. Where the system cannot do that in one step, what was there is renamed
    first, and comes back if the second step fails.
    """
    if directory.exists():
        if _exchange(content, directory):
            return
        directory.rename(old)
    try:
        content.rename(directory)
    except BaseException:
        if old.exists():
            old.rename(directory)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places at once; tell whether this system and file system can (Linux's renameat2)."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    if call is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(call(RELATIVE_TO_HERE, paths[0], RELATIVE_TO_HERE, paths[1], EXCHANGE) == 0)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary file to write; when the block ends without an error it takes the place of `path`.

    A device or a pipe, such as /dev/stdout, is given as it is.
    """
    with _reporting(path):
        if path.exists() and not path.is_file():
            yield path
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            _flush([temporary])
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _flush(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())


@contextmanager
def _reporting(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"-o {directory}: cannot be written ({error.strerror})", hint="name a folder that can be written"
        ) from error
