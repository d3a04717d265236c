"""The data of finetune.py: an .npz file, a folder of images, or a Python file with load_data(); checked, then read."""

from __future__ import annotations

import importlib
import runpy
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
KEYS = ("resize", "crop", "channels", "scale", "mean", "std", "layout")
CHECKED_SAMPLES = 64

Recipe = Mapping[str, Any]
Array = np.ndarray[Any, np.dtype[Any]]
Column = Array | list[Path]
Read = tuple[list[Tensor], Tensor]


class Stop(Exception):
    """The end: what to say, and the exit code."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


class Preprocess:
    """From an image [H, W, C] to what the network takes: resize, crop, channels, scale, mean, std, layout.

    They are done in this order, whatever theirs in the text. One number resizes the shorter side, bilinearly; a crop
    takes the centre; (image * scale - mean) / std.
    """

    def __init__(self, text: str) -> None:
        given = dict.fromkeys(KEYS, "")
        for item in filter(None, text.split(",")):
            key, _, value = (part.strip() for part in item.partition("="))
            if key not in given or not value:
                raise Stop(f"--preprocess: cannot read '{item}'; keys are {', '.join(KEYS)}")
            given[key] = value
        self.channels, self.layout = given["channels"], given["layout"]
        try:
            self.resize, self.crop = ([int(part) for part in given[k].split("x") if part] for k in ("resize", "crop"))
            self.scale, self.mean, self.std = (
                [_number(part) for part in given[key].split(":") if part] for key in ("scale", "mean", "std")
            )
        except (ValueError, ZeroDivisionError) as error:
            raise Stop(f"--preprocess {text}: {error}") from error

    def cuts(self, channels: int) -> bool:
        """Tell whether anything is done to each image by itself."""
        wrong = {"gray": channels == 3, "rgb": channels == 1, "bgr": True}
        return bool(self.resize or self.crop or wrong.get(self.channels))

    def cut(self, image: Array) -> Array:
        """Resize, crop, choose channels."""
        if self.resize:
            image = _resized(image, self.resize)
        if self.crop:
            height, width = self.crop * 2 if len(self.crop) == 1 else self.crop
            if height > image.shape[0] or width > image.shape[1]:
                raise Stop(f"--preprocess crop={height}x{width}: an image is {image.shape[0]}x{image.shape[1]}")
            top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
            image = image[top : top + height, left : left + width]
        if self.channels == "gray" and image.shape[2] == 3:
            return np.asarray(_pillow().fromarray(image).convert("L"))[:, :, None]
        if self.channels in ("rgb", "bgr") and image.shape[2] == 1:
            return image.repeat(3, 2)
        return image[:, :, ::-1] if self.channels == "bgr" else image

    def finish(self, images: Tensor) -> Tensor:
        """Scale and normalise images [N, H, W, C], and bring them into the layout."""
        if self.scale or self.mean or self.std:
            images = images.float()
        if self.scale:
            images = images * self.scale[0]
        for values in (self.mean, self.std):
            if len(values) not in (0, 1, images.shape[3]):
                raise Stop(
                    f"--preprocess: {len(values)} values of mean or std, but images have {images.shape[3]} channels"
                )
        if self.mean:
            images = images - torch.tensor(self.mean, device=images.device)
        if self.std:
            images = images / torch.tensor(self.std, device=images.device)
        return images.permute(0, 3, 1, 2).contiguous() if self.layout == "nchw" else images


@dataclass(frozen=True)
class Samples:
    """What is fed: per input an array with a row, or a list with a file, for each sample; and labels, if any.

    With `preprocess`, arrays of images are [N, H, W, C].
    """

    path: Path
    recipe: Recipe
    preprocess: Preprocess | None
    columns: Sequence[Column]
    labels: Array | None
    workers: int

    def __len__(self) -> int:
        return len(self.columns[0])

    def read(self, indices: Array) -> Read:
        """Read samples as they are stored, images cut to size."""
        columns = [self._images(c, indices) if self._is_images(c) else np.asarray(c)[indices] for c in self.columns]
        labels = np.zeros(len(indices), np.int64) if self.labels is None else self.labels[indices]
        return [torch.from_numpy(np.ascontiguousarray(item)) for item in columns], torch.from_numpy(labels)

    def on_device(self, stored: Sequence[Tensor], device: str) -> list[Tensor]:
        """Bring what was read to the device, as the network takes it; Stop where it does not fit."""
        inputs = []
        for tensor, spec in zip(stored, self.recipe["inputs"], strict=True):
            moved = tensor.to(device)
            item = self.preprocess.finish(moved) if self.preprocess and moved.ndim == 4 else moved
            _check_fit(self.path, item, spec)
            inputs.append(item.float() if item.is_floating_point() else item)
        return inputs

    def _is_images(self, column: Column) -> bool:
        return isinstance(column, list) or (self.preprocess is not None and column.ndim == 4)

    def _images(self, column: Column, indices: Array) -> Array:
        assert self.preprocess is not None
        if not isinstance(column, list) and not self.preprocess.cuts(column.shape[3]):
            return np.asarray(column[indices])
        cut = self.preprocess.cut
        with ThreadPoolExecutor(self.workers) as pool:
            images = list(pool.map(lambda index: cut(_decoded(column[index])), indices.tolist()))
        if len({image.shape for image in images}) > 1:
            raise Stop(f"{self.path}: images differ in size; resize or crop them with --preprocess")
        return np.stack(images)


def open_samples(path: Path, recipe: Recipe, preprocess: str, workers: int) -> Samples:
    """Open data and check whatever can be checked at once."""
    names = [spec["name"] for spec in recipe["inputs"]]
    if path.is_dir():
        columns, labels = _open_folder(path, recipe)
    elif path.suffix in (".npz", ".py") and path.is_file():
        columns, labels = _open_arrays(path, names)
    else:
        raise Stop(f"{path}: no folder, no .npz and no .py file")
    image = recipe["image"]
    if path.is_dir() and not preprocess:
        if image["height"] is None:
            raise Stop(
                f'{path}: the network does not fix the size of an image; give --preprocess "resize=256,crop=224"'
            )
        preprocess = f"resize={image['height']}x{image['width']},scale=1/255"
    chosen = Preprocess(preprocess) if preprocess and path.suffix != ".py" else None
    if chosen is not None and image is not None:
        chosen.channels, chosen.layout = chosen.channels or image["channels"], chosen.layout or image["layout"]
        columns = [
            _channels_last(column) if len(spec["shape"]) == 4 and not isinstance(column, list) else column
            for column, spec in zip(columns, recipe["inputs"], strict=True)
        ]
    lengths = sorted({len(item) for item in (*columns, labels) if item is not None})
    if len(lengths) > 1 or lengths[0] == 0:
        raise Stop(f"{path}: inputs and labels must be equally many, at least one; there are {lengths}")
    _check_finite(path, columns)
    samples = Samples(path, recipe, chosen, columns, _class_numbers(path, recipe, labels), workers)
    _check_range(samples)
    return samples


def read_ahead(samples: Samples, batches: Iterable[Array]) -> Iterator[Read]:
    """Read batches in the background, two ahead."""
    with ThreadPoolExecutor(1) as reader:
        pending: deque[Future[Read]] = deque()
        for indices in batches:
            pending.append(reader.submit(samples.read, indices))
            if len(pending) > 2:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def augmented(images: Tensor, layout: str, generator: torch.Generator) -> Tensor:
    """Flip half of the images [N, C, H, W] (or nhwc) and shift each by up to an eighth; zeros move in."""
    x = images.permute(0, 3, 1, 2) if layout == "nhwc" else images
    count, channels, height, width = x.shape
    down, right = height // 8, width // 8
    rows = torch.arange(height) + torch.randint(2 * down + 1, (count, 1), generator=generator)
    mirrored = torch.randint(2, (count, 1), generator=generator) == 1
    columns = torch.where(mirrored, torch.arange(width).flip(0), torch.arange(width))
    columns = columns + torch.randint(2 * right + 1, (count, 1), generator=generator)
    sample, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
    padded = F.pad(x, (right, right, down, down))
    moved = padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return moved.permute(0, 2, 3, 1).contiguous() if layout == "nhwc" else moved


def _open_folder(path: Path, recipe: Recipe) -> tuple[list[Column], Array | None]:
    """List images; a class folder's label is its name where all are numbers, else its place in order."""
    if recipe["image"] is None or len(recipe["inputs"]) > 1:
        raise Stop(f"{path}: a folder of images is for a network with one input of rank 4; give an .npz")
    folders = sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    numbered, classes = all(item.name.isdecimal() for item in folders), _classes(recipe)
    if folders and not numbered and classes not in (None, len(folders)):
        raise Stop(
            f"{path}: {len(folders)} class folders, but the network has {classes} classes: a missing one would shift "
            "the labels of the others; name each folder by its label"
        )
    files: list[Path] = []
    labels: list[int] = []
    for place, folder in enumerate(folders or [path]):
        found = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        if not found:
            raise Stop(f"{folder}: no image in it")
        files += found
        labels += [int(folder.name) if folders and numbered else place] * len(found)
    return [files], np.array(labels) if folders else None


def _open_arrays(path: Path, names: Sequence[str]) -> tuple[list[Column], Array | None]:
    """Read the inputs by name (x for a single one) and the labels, y; nothing is ever unpickled."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        else:
            feeds = list(runpy.run_path(str(path))["load_data"]())
            arrays = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    except Exception as error:
        raise Stop(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
    if len(names) == 1 and names[0] not in arrays and "x" in arrays:
        arrays[names[0]] = arrays.pop("x")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise Stop(f"{path}: nothing for input '{missing[0]}'; there is {', '.join(arrays) or 'nothing'}")
    return [arrays[name] for name in names], None if "y" in names else arrays.get("y")


def _class_numbers(path: Path, recipe: Recipe, labels: Array | None) -> Array | None:
    """Return labels as class numbers [N]; None where there are none, or the network has no classes."""
    classes = _classes(recipe)
    if labels is None or classes is None:
        return None
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise Stop(f"{path}: labels must be class numbers [N], found {labels.dtype} {list(labels.shape)}")
    if not 0 <= labels.min() <= labels.max() < classes:
        raise Stop(f"{path}: labels from {labels.min()} to {labels.max()}, but the network has {classes} classes")
    return labels.astype(np.int64)


def _classes(recipe: Recipe) -> int | None:
    return next((item["classes"] for item in recipe["outputs"] if item["classes"]), None)


def _check_finite(path: Path, columns: Sequence[Column]) -> None:
    for column in columns:
        if not isinstance(column, list) and column.dtype.kind == "f" and not np.isfinite(column).all():
            first = int(np.argwhere(~np.isfinite(column))[0][0])
            raise Stop(f"{path}: sample {first} holds a value that is not finite; remove it")


def _check_fit(path: Path, item: Tensor, spec: Mapping[str, Any]) -> None:
    sizes, name = spec["shape"], spec["name"]
    if item.ndim != len(sizes) or any(
        want not in (None, got) for want, got in zip(sizes[1:], item.shape[1:], strict=True)
    ):
        shown = [size or "?" for size in sizes[1:]]
        found = ["N", *item.shape[1:]]
        raise Stop(f"{path}: input '{name}' expects {_listed(['N', *shown])}, found {_listed(found)}; see --preprocess")
    if item.is_floating_point() != spec["floating"]:
        hint = 'give --preprocess "scale=1/255", or "scale=1" for a network that takes 0 to 255'
        wanted = "floating-point numbers" if spec["floating"] else "whole numbers"
        raise Stop(f"{path}: input '{name}' expects {wanted}, found {str(item.dtype).removeprefix('torch.')}; {hint}")


def _check_range(samples: Samples) -> None:
    """Hold some samples to the values that the network was compiled with, where these are known."""
    stored, _ = samples.read(np.linspace(0, len(samples) - 1, CHECKED_SAMPLES).astype(np.int64))
    for item, spec in zip(samples.on_device(stored, "cpu"), samples.recipe["inputs"], strict=True):
        if spec["low"] is None or not item.is_floating_point():
            continue
        (low, high), (least, most) = (spec["low"], spec["high"]), (float(item.min()), float(item.max()))
        span = high - low
        if least < low - span or most > high + span or most - least < span / 10:
            raise Stop(
                f"{samples.path}: input '{spec['name']}' has values from {least:.4g} to {most:.4g}, but the network "
                f"was compiled with {low:.4g} to {high:.4g}; check --preprocess"
            )


def _channels_last(images: Array) -> Array:
    """Return a view [N, H, W, C] of images [N, C, H, W], [N, H, W, C] or [N, H, W]; other arrays as they are."""
    if images.ndim == 3:
        return images[..., None]
    is_first = images.ndim == 4 and not (images.shape[3] in (1, 3) and images.shape[1] not in (1, 3))
    return np.moveaxis(images, 1, 3) if is_first else images


def _resized(image: Array, size: Sequence[int]) -> Array:
    height, width = image.shape[:2]
    if len(size) == 1:
        short = size[0]
        size = (short, short * width // height) if height <= width else (short * height // width, short)
    if image.dtype != np.uint8:
        raise Stop(f"--preprocess resize: images must be uint8, found {image.dtype}")
    gray = image.shape[2] == 1
    done = np.asarray(_pillow().fromarray(image[:, :, 0] if gray else image).resize((size[1], size[0]), BILINEAR))
    return done[:, :, None] if gray else done


BILINEAR = 2
"""PIL.Image.Resampling.BILINEAR, without needing pillow to say so."""


def _decoded(item: Path | Array) -> Array:
    if not isinstance(item, Path):
        return item
    try:
        with _pillow().open(item, formats=FORMATS) as image:
            mode, pixels = image.mode, np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, _pillow().DecompressionBombError) as error:
        raise Stop(f"{item}: cannot be read as an image: {error}") from error
    if mode not in EIGHT_BIT_MODES:
        raise Stop(f"{item}: an image of mode {mode}, not of 8 bits")
    return pixels


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise Stop("images need pillow: pip install pillow") from error


def _number(text: str) -> float:
    numerator, _, denominator = text.partition("/")
    return float(numerator) / float(denominator or 1)


def _listed(sizes: Sequence[object]) -> str:
    return f"[{', '.join(map(str, sizes))}]"
