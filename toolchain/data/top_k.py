"""`--metric top1` and `top5`: how often the label is among the k best classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from toolchain.data.dataset import class_labels
from toolchain.data.interface import ModelInterface
from toolchain.data.metric import BatchResult, Metric, Score, proportion
from toolchain.errors import DataError, UsageError


@dataclass(frozen=True)
class TopK(Metric[NDArray[np.bool_]]):
    """Share of samples whose label is among the `k` highest scores of `output`.

    Equal scores rank by class index, as arg max does. A sample with NaN among its scores is wrong.
    """

    k: int
    output: str

    @classmethod
    def of(cls, k: int, interface: ModelInterface, labels: NDArray[Any] | None) -> Self:
        """Check model and labels; UsageError if the model has no class scores, DataError for unfit labels."""
        spec = interface.class_output
        if spec is None or spec.classes is None:
            found = ", ".join(f"'{output.name}' {output.text}" for output in interface.outputs)
            raise UsageError(
                f"--metric top{k} needs an output [N, classes]; the model has {found}",
                hint="use fidelity or FILE.py:function",
            )
        if spec.classes <= k:
            raise UsageError(f"--metric top{k} of {spec.classes} classes is always 100 %", hint="use top1")
        _check_labels(k, labels, spec.classes)
        return cls(k, spec.name)

    def observe(self, result: BatchResult) -> NDArray[np.bool_]:
        """Return one truth value per sample."""
        expected = class_labels(result.labels)
        if expected is None:
            raise ValueError("top-k needs a label per sample")
        scores = class_scores(result.outputs[self.output])
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        hits: NDArray[np.bool_] = (best == expected[:, np.newaxis]).any(axis=1) & ~np.isnan(scores).any(axis=1)
        return hits

    def score(self, observations: Sequence[NDArray[np.bool_]]) -> Score:
        """Return the share in percent."""
        return proportion(f"top{self.k}", np.concatenate(observations))


def class_scores(output: NDArray[Any]) -> NDArray[np.float64]:
    """Return [N, classes] of an output [N, classes] or [N, classes, 1, 1]."""
    return output.reshape(len(output), -1).astype(np.float64)


def _check_labels(k: int, labels: NDArray[Any] | None, classes: int) -> None:
    indices = class_labels(labels)
    if labels is None or indices is None:
        found = "there are none" if labels is None else f"found {labels.dtype} {list(labels.shape)}"
        raise DataError(f"--metric top{k} needs one integer label per sample; {found}", hint="use --metric fidelity")
    wrong = np.flatnonzero((indices < 0) | (indices >= classes))
    if wrong.size:
        first = int(wrong[0])
        counts_from_one = indices.min() == 1 and indices.max() == classes
        raise DataError(
            f"label {indices[first]} of sample {first} is not one of the model's classes, 0 to {classes - 1}",
            hint="the labels seem to count from 1: subtract 1" if counts_from_one else "labels count from 0",
        )
