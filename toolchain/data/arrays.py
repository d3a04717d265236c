"""Samples that are rows of arrays in memory, however they got there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.data.interface import ModelInterface
from toolchain.data.preprocess import Preprocess
from toolchain.errors import DataError


@dataclass(frozen=True)
class ArraySource:
    """One array per graph input, samples along axis 0; `preprocess` applies to the image input, if given."""

    path: Path
    arrays: Mapping[str, NDArray[Any]]
    preprocess: Preprocess | None = None
    image_name: str = ""

    def __post_init__(self) -> None:
        require_equal_lengths(self.path, self.arrays)

    def __len__(self) -> int:
        return _length(next(iter(self.arrays.values())))

    def sample(self, index: int) -> Mapping[str, NDArray[Any]]:
        """Return row `index` of every array."""
        rows = {name: array[index] for name, array in self.arrays.items()}
        if self.preprocess is not None:
            image = _channels_last(rows[self.image_name], self.where(index))
            rows[self.image_name] = self.preprocess.apply(image, self.where(index))
        return rows

    def where(self, index: int) -> str:
        """Name the file and the row."""
        return f"{self.path}, sample {index}"


def require_inputs(where: object, interface: ModelInterface, found: Mapping[str, object]) -> None:
    """Raise DataError unless there is something for every graph input."""
    missing = [spec.name for spec in interface.inputs if spec.name not in found]
    if missing:
        raise DataError(
            f"{where}: nothing for input {_quoted(missing)}; there is {_quoted(found) or 'nothing'}",
            hint=f"the model's inputs are {_quoted(spec.name for spec in interface.inputs)}",
        )


def require_equal_lengths(where: object, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise DataError unless all arrays are equally long on axis 0."""
    lengths = {name: _length(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise DataError(f"{where}: arrays of different lengths: {found}", hint="axis 0 is the batch in all of them")


def _length(array: NDArray[Any]) -> int:
    return len(array) if array.ndim else 0


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _channels_last(image: NDArray[Any], where: str) -> NDArray[Any]:
    if image.ndim == 2:
        return image[:, :, np.newaxis]
    if image.ndim != 3:
        raise DataError(
            f"{where}: --preprocess needs images, found shape {list(image.shape)}",
            hint="save them as [N, C, H, W], [N, H, W, C] or [N, H, W]",
        )
    is_channels_last = image.shape[2] in (1, 3) and image.shape[0] not in (1, 3)
    return image if is_channels_last else image.transpose(1, 2, 0)
