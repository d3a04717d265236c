"""`--data FOLDER`: a folder of class folders with images, decoded when they are needed."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolchain.data.dataset import Dataset
from toolchain.data.interface import ModelInterface
from toolchain.data.preprocess import Preprocess
from toolchain.errors import DataError

# Only these decoders run, whatever the file says: others start programs (EPS) or are rarely tested.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True)
class ImageSource:
    """Image files, each decoded and preprocessed when it is asked for."""

    files: tuple[Path, ...]
    input_name: str
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int) -> Mapping[str, NDArray[Any]]:
        """Decode one image and preprocess it."""
        return {self.input_name: self.preprocess.apply(_decode(self.files[index]), self.where(index))}

    def where(self, index: int) -> str:
        """Name the file."""
        return str(self.files[index])


def open_image_folder(path: Path, interface: ModelInterface, preprocess: Preprocess | None) -> Dataset:
    """Read a folder whose sub-folders are the classes and hold the images.

    1. If every class folder's name is an integer, it is the label; otherwise the place in the sorted names
       is, and then every class of the model must be there: a missing one would shift the labels behind it.
    2. Images directly in the folder, and no sub-folder: samples without labels.
    3. Without `--preprocess`, images are resized to the model's height and width, and scaled to 0..1.
       As in torchvision's ImageFolder, an orientation in the EXIF data is not applied.

    Raises DataError if classes and model do not fit, a class is empty, or the model does not take one image.
    """
    image = interface.image_input
    if image is None or len(interface.inputs) > 1:
        raise DataError(
            f"{path}: a folder of images needs a model with one input of rank 4",
            hint="give this model's data as .npz or as a Python file with load_data()",
        )
    preprocess = (preprocess or Preprocess.default(image)).resolve(image)
    folders = sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    if not folders:
        return Dataset(interface, ImageSource(_images(path), image.name, preprocess), None, preprocess)
    labels_of = _labels(path, [folder.name for folder in folders], interface)
    files = [(file, label) for folder, label in zip(folders, labels_of, strict=True) for file in _images(folder)]
    source = ImageSource(tuple(file for file, _ in files), image.name, preprocess)
    return Dataset(interface, source, np.array([label for _, label in files]), preprocess)


def _images(folder: Path) -> tuple[Path, ...]:
    found = sorted(
        item for item in folder.iterdir() if item.suffix.lower() in _SUFFIXES and not item.name.startswith(".")
    )
    if not found:
        raise DataError(f"{folder}: no image in it", hint=f"images end in {', '.join(sorted(_SUFFIXES))}")
    return tuple(found)


def _labels(path: Path, names: list[str], interface: ModelInterface) -> list[int]:
    output = interface.class_output
    classes = output.classes if output else None
    if all(name.isdecimal() for name in names):
        labels = [int(name) for name in names]
        _check_range(path, labels, classes)
        return labels
    if classes not in (None, len(names)):
        raise DataError(
            f"{path}: {len(names)} class folders ({names[0]} to {names[-1]}), but the model has {classes} "
            "classes; a folder's place in the sorted names is its label, so a missing one shifts the others",
            hint="add or remove folders, or name each by its label: 0, 1, 2, ...",
        )
    return list(range(len(names)))


def _check_range(path: Path, labels: list[int], classes: int | None) -> None:
    if classes is not None and max(labels) >= classes:
        raise DataError(
            f"{path}: class folder '{max(labels)}', but the model has {classes} classes, 0 to {classes - 1}",
            hint="labels count from 0",
        )


def _decode(file: Path) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as image:
                mode, pixels = image.mode, np.asarray(image.convert("RGB"))
    except _BROKEN as error:
        raise DataError(f"{file}: cannot be read as an image: {error}", hint="replace or remove it") from error
    if mode not in _EIGHT_BIT_MODES:
        raise DataError(f"{file}: an image of mode {mode}, not of 8 bits", hint="save it with 8 bits, or use .npz")
    return pixels
