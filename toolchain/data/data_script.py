"""`--data FILE.py`: a Python file in Polygraphy's convention."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.data.arrays import ArraySource, require_equal_lengths, require_inputs
from toolchain.data.dataset import Dataset
from toolchain.data.interface import ModelInterface
from toolchain.data.preprocess import Preprocess
from toolchain.data.user_code import load_function, user_code
from toolchain.errors import DataError, UsageError

_MAX_BYTES = 8 << 30

Feed = Mapping[str, NDArray[Any]]


def open_data_script(path: Path, interface: ModelInterface, preprocess: Preprocess | None) -> Dataset:
    """Run a file whose `load_data()` yields feed dicts: graph input name -> array with its batch axis.

    The file is code and runs with the rights of this process. One key that is no graph input, usually `y`,
    may hold labels: it goes to the metric. All feeds are kept in memory, at most 8 GiB, joined along axis 0.
    """
    if preprocess is not None:
        raise UsageError("--preprocess does not apply to a data script", hint="preprocess in load_data()")
    load_data = load_function(path, "load_data")
    with user_code(path):
        feeds = list(_checked_feeds(path, load_data(), interface))
    if not feeds:
        raise DataError(f"{path}: load_data() yields nothing", hint="yield at least one feed dict")
    arrays = {key: _join(path, key, [feed[key] for feed in feeds]) for key in feeds[0]}
    names = {spec.name for spec in interface.inputs}
    labels = [array for key, array in arrays.items() if key not in names]
    source = ArraySource(path, {name: arrays[name] for name in names})
    return Dataset(interface, source, labels[0] if labels else None)


def _checked_feeds(path: Path, yielded: object, interface: ModelInterface) -> Iterator[Feed]:
    if not isinstance(yielded, Iterable):
        raise DataError(
            f"{path}: load_data() returns {type(yielded).__name__}", hint="yield feed dicts, or return a list"
        )
    first: Feed = {}
    total_bytes = 0
    for number, item in enumerate(yielded):
        where = f"{path}: feed {number}"
        feed = _checked_feed(where, item, interface)
        first = first or feed
        if feed.keys() != first.keys():
            raise DataError(f"{where} has the keys {sorted(feed)}, the first has {sorted(first)}")
        total_bytes += sum(array.nbytes for array in feed.values())
        if total_bytes > _MAX_BYTES:
            raise DataError(
                f"{where}: load_data() has yielded more than 8 GiB", hint="does it end? yield fewer samples"
            )
        yield feed


def _checked_feed(where: str, item: object, interface: ModelInterface) -> Feed:
    if not isinstance(item, Mapping):
        raise DataError(
            f"{where}: load_data() yields {type(item).__name__}, not a dict", hint="yield {input name: array}"
        )
    require_inputs(where, interface, item)
    feed = {key: np.array(value) for key, value in item.items()}  # a copy: scripts reuse their buffers
    others = sorted(feed.keys() - {spec.name for spec in interface.inputs})
    if len(others) > 1:
        raise DataError(f"{where}: more than one key that is no input: {others}", hint="give labels as one array, 'y'")
    require_equal_lengths(where, feed)
    return feed


def _join(path: Path, key: str, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    shapes = sorted({array.shape[1:] for array in arrays})
    if len(shapes) > 1:
        raise DataError(
            f"{path}: '{key}' changes its shape between feeds: {list(shapes[0])} and {list(shapes[1])}",
            hint="only axis 0, the batch, may differ; pad the rest",
        )
    return np.concatenate(arrays)
