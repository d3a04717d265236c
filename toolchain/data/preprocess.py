"""`--preprocess`: from the image of a file to what the model was trained on."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from toolchain.data.image import crop, per_channel, reorder, resize
from toolchain.data.interface import TensorSpec
from toolchain.errors import DataError, UsageError

_EXAMPLE = 'e.g. "resize=256,crop=224,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"'


@dataclass(frozen=True)
class Preprocess:
    """What is done to an image [H, W, C], always in this order, whatever the order in the text.

    1. `resize=256`: the shorter side, ratio kept; `resize=224x320`: height and width. Bilinear, antialiased.
    2. `crop=224` or `crop=224x320`: the centre.
    3. `channels=rgb|bgr|gray`: the order the model wants; files are read as RGB.
    4. `scale=1/255`: factor; the image is float32 from here on.
    5. `mean=...`, `std=...`: (image - mean) / std; one number, or one per channel of 3, joined by `:`.
    6. `layout=nchw|nhwc`: where the model wants the channels.

    What is not named is not done, except that `channels` and `layout` follow the model's input.
    Sizes and centre are those of torchvision's Resize and CenterCrop on PIL images.
    """

    resize: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    channels: str = ""
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `key=value,key=value`; UsageError for an unknown key, a key given twice, or a wrong value."""
        values: dict[str, Any] = {}
        for item in text.split(","):
            key, _, value = (part.strip() for part in item.partition("="))
            if key not in _PARSERS:
                raise UsageError(
                    f"--preprocess: unknown key '{key}'", hint=f"keys are {', '.join(_PARSERS)}; {_EXAMPLE}"
                )
            if key in values:
                raise UsageError(f"--preprocess: '{key}' is given twice", hint="give it once")
            values[key] = _parse_value(key, value)
        return cls(**values)

    @classmethod
    def default(cls, image: TensorSpec) -> Self:
        """Return what is done to a folder's images by default: resize to the model's size, scale to 0..1.

        Raises DataError if the model's height or width is symbolic.
        """
        _, height, width = _channels_height_width(image)
        if height is None or width is None:
            raise DataError(
                f"input '{image.name}' {image.text} does not fix the size of an image",
                hint='say it: --preprocess "resize=256,crop=224,scale=1/255"',
            )
        return cls(resize=(height, width), scale=1 / 255 if image.dtype.kind == "f" else None)

    def resolve(self, image: TensorSpec) -> Self:
        """Fill in `channels` and `layout` from the model's input of rank 4."""
        count, _, _ = _channels_height_width(image)
        return replace(
            self,
            channels=self.channels or ("gray" if count == 1 else "rgb"),
            layout=self.layout or ("nhwc" if _is_nhwc(image) else "nchw"),
        )

    def apply(self, image: NDArray[Any], where: str) -> NDArray[Any]:
        """Preprocess one image [H, W, C]; DataError, naming `where`, if a step does not fit the image."""
        if self.resize:
            image = resize(image, self.resize, where)
        if self.crop:
            image = crop(image, self.crop, where)
        if self.channels:
            image = reorder(image, self.channels, where)
        if self.scale is not None:
            image = image.astype(np.float32) * np.float32(self.scale)
        if self.mean:
            image = image.astype(np.float32) - per_channel("mean", self.mean, image, where)
        if self.std:
            image = image.astype(np.float32) / per_channel("std", self.std, image, where)
        return image.transpose(2, 0, 1) if self.layout == "nchw" else image

    def __str__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return ",".join(f"{key}={_text(key, value)}" for key, value in values.items() if value not in ((), "", None))


def _text(key: str, value: Any) -> str:
    if isinstance(value, tuple):
        return ("x" if key in ("resize", "crop") else ":").join(map(str, value))
    return str(value)


def _number(text: str) -> float:
    numerator, slash, denominator = text.partition("/")
    value = float(numerator) / float(denominator if slash else 1)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_number(part) for part in text.split(":"))


def _divisors(text: str) -> tuple[float, ...]:
    values = _numbers(text)
    if 0 in values:
        raise ValueError(text)
    return values


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.split("x"))
    if len(sizes) > 2 or min(sizes) < 1:
        raise ValueError(text)
    return sizes


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return parse


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "resize": _sizes,
    "crop": _sizes,
    "channels": _one_of("rgb", "bgr", "gray"),
    "scale": _number,
    "mean": _numbers,
    "std": _divisors,
    "layout": _one_of("nchw", "nhwc"),
}


def _parse_value(key: str, text: str) -> object:
    try:
        return _PARSERS[key](text)
    except (ValueError, ZeroDivisionError) as error:
        keys = ", ".join(_PARSERS)
        raise UsageError(
            f"--preprocess: '{text}' is no value for '{key}'", hint=f"keys are {keys}; {_EXAMPLE}"
        ) from error


def _is_nhwc(image: TensorSpec) -> bool:
    return image.shape[3] in (1, 3) and image.shape[1] not in (1, 3)


def _channels_height_width(image: TensorSpec) -> tuple[int | None, int | None, int | None]:
    _, *sizes = image.shape
    return (sizes[2], sizes[0], sizes[1]) if _is_nhwc(image) else (sizes[0], sizes[1], sizes[2])
