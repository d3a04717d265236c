"""Steps on one image [H, W, C]; DataError, naming `where` the image is from, if one does not fit it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolchain.errors import DataError


def resize(image: NDArray[Any], size: tuple[int, ...], where: str) -> NDArray[Any]:
    """Resize to (height, width), or the shorter side to (size,), ratio kept; bilinear, antialiased."""
    height, width = size if len(size) == 2 else _shorter_side(image, size[0])
    return _array(_pillow(image, "resize", where).resize((width, height), Image.Resampling.BILINEAR))


def _shorter_side(image: NDArray[Any], size: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    return (size, size * width // height) if height <= width else (size * height // width, size)


def crop(image: NDArray[Any], size: tuple[int, ...], where: str) -> NDArray[Any]:
    """Cut (height, width), or a square of (size,), out of the centre."""
    height, width = size if len(size) == 2 else size * 2
    if height > image.shape[0] or width > image.shape[1]:
        raise DataError(
            f"{where}: crop={height}x{width} is larger than the image, {image.shape[0]}x{image.shape[1]}",
            hint="resize to at least that size first",
        )
    top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
    return image[top : top + height, left : left + width]


def reorder(image: NDArray[Any], channels: str, where: str) -> NDArray[Any]:
    """Bring an image of RGB or gray to `rgb`, `bgr` or `gray`."""
    count = image.shape[2]
    if channels == "gray":
        return image if count == 1 else _array(_pillow(image, "channels=gray", where).convert("L"))
    if count == 1:
        return np.repeat(image, 3, axis=2)
    return image[:, :, ::-1] if channels == "bgr" else image


def per_channel(key: str, values: tuple[float, ...], image: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Return one value per channel, or one for all."""
    if len(values) not in (1, image.shape[2]):
        raise DataError(
            f"{where}: {key} has {len(values)} values, the image {image.shape[2]} channels",
            hint="give one per channel",
        )
    return np.array(values, dtype=np.float32)


def _pillow(image: NDArray[Any], step: str, where: str) -> Image.Image:
    if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        raise DataError(
            f"{where}: {step} needs uint8 and 1 or 3 channels, found {image.dtype} {list(image.shape)}",
            hint="do this step before saving the array",
        )
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _array(image: Image.Image) -> NDArray[Any]:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]
