"""`--data FILE.npz`: arrays, as `numpy.savez` writes them."""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from toolchain.data.arrays import ArraySource, require_inputs
from toolchain.data.dataset import Dataset
from toolchain.data.interface import ModelInterface
from toolchain.data.preprocess import Preprocess
from toolchain.errors import DataError

# What NumPy and zipfile raise for files that are cut off, damaged, encrypted or made to mislead.
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

_MAX_BYTES = 8 << 30
"""Of all arrays together, unpacked: an archive of zeros grows a thousandfold."""


def open_npz(path: Path, interface: ModelInterface, preprocess: Preprocess | None) -> Dataset:
    """Read an archive of arrays with axis 0 as the batch; nothing in it is ever unpickled.

    1. One array per graph input, by name; or `x`, if the model has one input.
    2. Labels are `y`, if it is there and no input's name.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: not an .npz archive", hint="write it with numpy.savez(path, x=..., y=...)")
    with _load(path) as archive:
        _check_size(path, archive)
        keys = _keys(path, interface, archive)
        arrays = {name: _read(path, archive, key) for name, key in keys.items()}
        has_labels = "y" in archive.files and "y" not in keys.values()
        labels = _read(path, archive, "y") if has_labels else None
    image = interface.image_input
    source = ArraySource(path, arrays, preprocess, image.name if image else "")
    return Dataset(interface, source, labels, preprocess)


def _load(path: Path) -> NpzFile:
    try:
        archive: NpzFile = np.load(path, allow_pickle=False)
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read: {error}", hint="write it again") from error
    return archive


def _check_size(path: Path, archive: NpzFile) -> None:
    unpacked = sum(item.file_size for item in archive.zip.infolist()) if archive.zip else 0
    if unpacked > _MAX_BYTES:
        raise DataError(f"{path}: {unpacked} bytes when unpacked, more than 8 GiB", hint="give fewer samples")


def _keys(path: Path, interface: ModelInterface, archive: NpzFile) -> dict[str, str]:
    names = [spec.name for spec in interface.inputs]
    found = {name: name for name in archive.files}
    if len(names) == 1 and names[0] not in found and "x" in found:
        return {names[0]: "x"}
    require_inputs(path, interface, found)
    return {name: name for name in names}


def _read(path: Path, archive: NpzFile, key: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = archive[key]
    except _BROKEN as error:
        what = "pickled objects" if "allow_pickle" in str(error) else str(error)
        raise DataError(
            f"{path}: array '{key}' cannot be read: {what}",
            hint="save plain arrays of numbers, nothing pickled",
        ) from error
    return array
