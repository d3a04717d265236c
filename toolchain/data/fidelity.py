"""`--metric fidelity`: how close a model stays to the original; needs no labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.data.divergence import feature_axis, moments
from toolchain.data.interface import ModelInterface
from toolchain.data.metric import BatchResult, Metric, Score, mean_percent, proportion
from toolchain.data.top_k import class_scores
from toolchain.errors import DataError, UsageError

RESOLUTION = 1e-8
"""The least variance of a feature, as a share of its mean square: rounding is no error."""


@dataclass(frozen=True)
class ClassFidelity(Metric[NDArray[np.float64]]):
    """Share of samples for which the model and the original choose the same class.

    Extra figure `kl_nats`: the mean of KL(p || q) = sum p (log p - log q), p of the original and q of the
    model, both softmax of `output`, unless the original's rows already are probabilities.
    """

    needs_reference = True
    output: str

    def observe(self, result: BatchResult) -> NDArray[np.float64]:
        """Return agreement (0 or 1) and KL per sample, [N, 2]; NaN among the scores is no agreement."""
        original = class_scores(_original(result, self.output))
        scores = class_scores(result.outputs[self.output])
        finite = np.all(np.isfinite(scores), axis=1)
        agreement = finite & (original.argmax(axis=1) == scores.argmax(axis=1))
        kl = np.where(finite, _kl(original, np.where(finite[:, None], scores, 0)), np.inf)
        return np.stack([agreement, kl], axis=1)

    def score(self, observations: Sequence[NDArray[np.float64]]) -> Score:
        """Return the agreement in percent."""
        agreement, kl = np.concatenate(observations).T
        return proportion("fidelity", agreement > 0, (("kl_nats", float(kl.mean())),))


@dataclass(frozen=True)
class Seen:
    """What a batch says of one output: squared errors a sample and moments of the original, both by axis."""

    elements: int
    errors: Mapping[int, NDArray[np.float64]]
    moments: Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True)
class TensorFidelity(Metric[Mapping[str, Seen]]):
    """100 % less the error, averaged over samples and `outputs`: 0 % is as bad as a constant.

    A sample's error is the root of the mean over an output's elements of (y - y0)^2 / variance, the variance that of
    the element's feature in all that the original says (`feature_axis`): a detector's boxes in pixels do not
    outweigh its scores.
    """

    needs_reference = True
    outputs: tuple[str, ...]

    def observe(self, result: BatchResult) -> Mapping[str, Seen]:
        """Return what is seen of each output."""
        return {name: _seen(*_pair(result, name)) for name in self.outputs}

    def score(self, observations: Sequence[Mapping[str, Seen]]) -> Score:
        """Return the mean in percent; it is negative where the error exceeds the signal."""
        errors = [_errors([batch[name] for batch in observations]) for name in self.outputs]
        return mean_percent("fidelity", 1 - np.mean(errors, axis=0))


def fidelity(interface: ModelInterface) -> Metric[Any]:
    """Choose by the outputs: agreement of classes, or the error of all floating-point outputs."""
    if interface.class_output is not None:
        return ClassFidelity(interface.class_output.name)
    outputs = tuple(spec.name for spec in interface.outputs if spec.dtype.kind == "f")
    if not outputs:
        raise UsageError("--metric fidelity needs a floating-point output", hint="use --metric FILE.py:function")
    return TensorFidelity(outputs)


def _original(result: BatchResult, name: str) -> NDArray[Any]:
    if result.reference is None:
        raise ValueError("fidelity needs the original model's outputs")
    output = result.reference[name]
    if not np.isfinite(output).all():
        raise DataError(
            f"the original model's output '{name}' is not finite",
            hint="check --preprocess, or use FILE.py:function",
        )
    return output


def _kl(original: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import log_softmax  # loaded where it is used: most commands start without scipy

    is_probability = bool((original >= 0).all() and np.allclose(original.sum(axis=1), 1, atol=1e-3))
    log_p, log_q = (_log(rows) if is_probability else log_softmax(rows, axis=1) for rows in (original, scores))
    kl: NDArray[np.float64] = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return kl


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    # A probability that underflowed to 0 in float32 is taken for the smallest float32.
    logarithm: NDArray[np.float64] = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return logarithm


def _pair(result: BatchResult, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return an output and the original's. Raises DataError where their elements do not correspond."""
    output, original = result.outputs[name], _original(result, name)
    if output.shape != original.shape:
        raise DataError(
            f"output '{name}' is {list(output.shape)}, the original's {list(original.shape)}",
            hint="its size depends on the data: use --metric FILE.py:function",
        )
    if result.samples > 1 and output.shape[:1] != (result.samples,):
        raise DataError(
            f"output '{name}' {list(output.shape)} has no batch axis of {result.samples}",
            hint="use --metric FILE.py:function",
        )
    rows = [value.astype(np.float64) for value in (output, original)]
    if output.shape[:1] != (result.samples,):  # one sample without a batch axis
        rows = [value[np.newaxis] for value in rows]
    return rows[0], rows[1]


def _seen(output: NDArray[np.float64], original: NDArray[np.float64]) -> Seen:
    squares, axes = np.square(output - original), range(original.ndim)
    errors = {
        axis: squares.sum(axis=tuple(other for other in axes[1:] if other != axis)).reshape(len(squares), -1)
        for axis in axes
    }
    return Seen(original[0].size, errors, {axis: moments(original, axis) for axis in axes})


def _errors(batches: Sequence[Seen]) -> NDArray[np.float64]:
    """Return each sample's error of an output; one that says nothing but 0 is kept or lost."""
    sums = {axis: np.sum([batch.moments[axis] for batch in batches], axis=0) for axis in batches[0].moments}
    axis, weight = feature_axis(sums)
    count, _, squares = sums[axis]
    power = squares / count
    squared = np.concatenate([batch.errors[axis] for batch in batches])
    if not power.any():
        return np.where(squared.sum(axis=1) != 0, 1.0, 0.0)
    # What never moves is as precise as its float32.
    weight = np.minimum(weight, 1 / np.maximum(RESOLUTION * power, np.finfo(np.float64).tiny))
    error = np.sqrt(squared @ weight / batches[0].elements)
    finite: NDArray[np.float64] = np.where(np.isnan(error), np.inf, error)
    return finite
