"""Samples and labels, served in batches that the model can take."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolchain.data.conform import conform
from toolchain.data.interface import ModelInterface
from toolchain.data.preprocess import Preprocess
from toolchain.errors import DataError

Outputs = Mapping[str, NDArray[Any]]


class Source(Protocol):
    """Where samples come from; a sample is one item per graph input, without the batch axis."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def sample(self, index: int) -> Mapping[str, NDArray[Any]]:
        """Read one sample: graph input name -> array."""

    def where(self, index: int) -> str:
        """Say where a sample comes from, for messages."""


@dataclass(frozen=True)
class Batch:
    """What the model is fed at once; if it is padded, only the first `samples` rows count."""

    feeds: Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None
    samples: int

    @property
    def size(self) -> int:
        """Return the length of the batch axis, padding included."""
        return len(next(iter(self.feeds.values())))

    def trim(self, outputs: Outputs) -> Outputs:
        """Cut the padding off what the model returned; DataError if an output lacks the batch axis."""
        if self.samples == self.size:
            return outputs
        for name, value in outputs.items():
            if value.shape[:1] != (self.size,):
                raise DataError(
                    f"output '{name}' {list(value.shape)} has no batch axis of {self.size}, "
                    "so a padded batch cannot be scored",
                    hint=f"use a number of samples that is a multiple of {self.size}",
                )
        return {name: value[: self.samples] for name, value in outputs.items()}


@dataclass(frozen=True)
class Dataset:
    """Samples with or without labels, checked against the model's interface as they are read.

    `preprocess` is what the source does to its images, for the record and for the fine-tuning script.
    Raises DataError if there is no sample, or not one label per sample.
    """

    interface: ModelInterface
    source: Source
    labels: NDArray[Any] | None = None
    preprocess: Preprocess | None = None

    def __post_init__(self) -> None:
        if len(self) == 0:
            raise DataError("the data holds no sample", hint="axis 0 of its arrays counts the samples")
        if self.labels is not None and len(self.labels) != len(self):
            raise DataError(f"{len(self)} samples but {len(self.labels)} labels", hint="give one label per sample")

    def __len__(self) -> int:
        return len(self.source)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what looks wrong but may be meant: classes of the model that never occur in the labels."""
        output = self.interface.class_output
        labels = class_labels(self.labels)
        if output is None or output.classes is None or labels is None:
            return ()
        missing = np.setdiff1d(np.arange(output.classes), labels)
        if missing.size == 0:
            return ()
        listed = ", ".join(map(str, missing[:5])) + (", ..." if missing.size > 5 else "")
        return (f"{missing.size} of {output.classes} classes never occur in the labels: {listed}",)

    def batch(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Batch:
        """Read samples into one batch, filled up with the last sample if the model's batch is static."""
        samples = [self._conforming(int(index)) for index in indices]
        labels = None if self.labels is None else self.labels[np.asarray(indices, dtype=np.intp)]
        padding = max((self.interface.batch_size or 0) - len(samples), 0)
        rows = samples + samples[-1:] * padding
        feeds = {spec.name: _stack(spec.name, [row[spec.name] for row in rows]) for spec in self.interface.inputs}
        return Batch(feeds, labels, len(samples))

    def batches(self, indices: Sequence[int] | NDArray[np.integer[Any]], batch_size: int = 64) -> Iterator[Batch]:
        """Read samples batch by batch; a static batch of the model overrides `batch_size`."""
        size = self.interface.batch_size or batch_size
        for start in range(0, len(indices), size):
            yield self.batch(indices[start : start + size])

    def _conforming(self, index: int) -> Mapping[str, NDArray[Any]]:
        sample = self.source.sample(index)
        where = self.source.where(index)
        return {spec.name: conform(sample[spec.name], spec, where) for spec in self.interface.inputs}


def class_labels(labels: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return labels that can be class indices, [N] integers, or None; a column [N, 1] counts as [N]."""
    if labels is None or labels.dtype.kind not in "iu":
        return None
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    return labels if labels.ndim == 1 else None


def _stack(name: str, rows: list[NDArray[Any]]) -> NDArray[Any]:
    shapes = sorted({row.shape for row in rows})
    if len(shapes) > 1:
        raise DataError(
            f"input '{name}': one batch has samples {list(shapes[0])} and {list(shapes[1])}",
            hint='make them equal, e.g. --preprocess "resize=256,crop=224"',
        )
    return np.stack(rows)
