"""`--data PATH`: from a path to a dataset, by what is found there."""

from collections.abc import Callable, Mapping
from pathlib import Path

from toolchain.data.data_script import open_data_script
from toolchain.data.dataset import Dataset
from toolchain.data.image_folder import open_image_folder
from toolchain.data.interface import ModelInterface
from toolchain.data.npz import open_npz
from toolchain.data.preprocess import Preprocess
from toolchain.errors import DataError, UsageError

Opener = Callable[[Path, ModelInterface, Preprocess | None], Dataset]

_OPENERS: Mapping[str, Opener] = {".npz": open_npz, ".py": open_data_script}


def open_data(path: Path, interface: ModelInterface, preprocess: Preprocess | None = None) -> Dataset:
    """Open a folder of images, an .npz file or a Python file, and hold its first sample against the model.

    Raises DataError if there is nothing or it does not fit, UsageError if `preprocess` has no image input.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", hint="check --data")
    if preprocess is not None:
        preprocess = _resolve(preprocess, interface)
    dataset = _opener(path)(path, interface, preprocess)
    dataset.batch([0])
    return dataset


def _opener(path: Path) -> Opener:
    if path.is_dir():
        return open_image_folder
    if path.suffix.lower() not in _OPENERS:
        raise DataError(f"{path}: not a kind of data", hint=f"give a folder of images, or {' or '.join(_OPENERS)}")
    return _OPENERS[path.suffix.lower()]


def _resolve(preprocess: Preprocess, interface: ModelInterface) -> Preprocess:
    image = interface.image_input
    if image is None:
        found = ", ".join(f"'{spec.name}' {spec.text}" for spec in interface.inputs)
        raise UsageError(
            f"--preprocess needs one input of rank 4, an image; the model has {found}", hint="leave it out"
        )
    return preprocess.resolve(image)
