"""Hold one sample against one graph input: shape, type, finite values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.data.interface import TensorSpec
from toolchain.errors import DataError

_LAYOUTS = {"nchw": (2, 0, 1), "nhwc": (1, 2, 0)}


def conform(sample: NDArray[Any], spec: TensorSpec, where: str) -> NDArray[Any]:
    """Return a sample (no batch axis) in the type of its graph input.

    1. The shape must be the input's, symbolic sizes aside.
    2. Floating-point types are cast to each other; integers to integers where every value survives.
       Integers are never taken for floating point: whether 0..255 or 0..1 is meant is not ours to guess.
    3. Every value must be finite, after the cast.

    Raises DataError that names `where`, the input, what was expected and what was found.
    """
    _check_shape(sample, spec, where)
    converted = _cast(sample, spec, where)
    if converted.dtype.kind == "f" and not np.isfinite(converted).all():
        raise DataError(
            f"{where}: input '{spec.name}' has a value that is not finite as {spec.dtype}",
            hint="remove the sample, or check how it was made",
        )
    return converted


def _check_shape(sample: NDArray[Any], spec: TensorSpec, where: str) -> None:
    expected = spec.shape[1:]
    if _fits(sample.shape, expected):
        return
    found = ", ".join(["N", *map(str, sample.shape)])
    raise DataError(
        f"{where}: input '{spec.name}' expects {spec.text}, found [{found}]",
        hint=_shape_hint(sample.shape, spec.shape),
    )


def _fits(found: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(found) == len(expected) and all(want in (None, size) for size, want in zip(found, expected, strict=True))


def _shape_hint(found: tuple[int, ...], whole: tuple[int | None, ...]) -> str:
    expected = whole[1:]
    if len(found) == len(expected) == 3:
        for layout, axes in _LAYOUTS.items():
            if _fits(tuple(found[axis] for axis in axes), expected):
                return f'give --preprocess "layout={layout}"'
        return 'resize or crop with --preprocess "resize=256,crop=224"'
    if _fits(found, whole):
        return "the model has no batch axis: export it with one, of size 1 at least"
    return "axis 0 is the batch; the other axes must be the model's"


def _cast(sample: NDArray[Any], spec: TensorSpec, where: str) -> NDArray[Any]:
    if sample.dtype == spec.dtype:
        return sample
    kinds = sample.dtype.kind + spec.dtype.kind
    if kinds == "ff":
        with np.errstate(over="ignore"):  # an overflow becomes infinite, and is refused as such
            return sample.astype(spec.dtype)
    if set(kinds) <= {"i", "u"}:
        converted = sample.astype(spec.dtype)
        if np.array_equal(converted, sample):
            return converted
    raise DataError(f"{where}: input '{spec.name}' expects {spec.dtype}, found {sample.dtype}", hint=_type_hint(kinds))


def _type_hint(kinds: str) -> str:
    if kinds in ("uf", "if"):
        return 'give --preprocess "scale=1/255" (or "scale=1" if the model was trained on 0..255)'
    return "save the array in the model's type"
