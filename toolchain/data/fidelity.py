"""`--metric fidelity`: how close a model stays to the original; needs no labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.data.interface import ModelInterface
from toolchain.data.metric import BatchResult, Metric, Score, mean_percent, proportion
from toolchain.data.top_k import class_scores
from toolchain.errors import DataError, UsageError


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
class TensorFidelity(Metric[NDArray[np.float64]]):
    """100 % less the relative error ||y - y0|| / ||y0||, averaged over samples and `outputs`."""

    needs_reference = True
    outputs: tuple[str, ...]

    def observe(self, result: BatchResult) -> NDArray[np.float64]:
        """Return 1 - relative error per sample, the mean over the outputs."""
        errors = [_relative_error(result, name) for name in self.outputs]
        kept: NDArray[np.float64] = 1 - np.mean(errors, axis=0)
        return kept

    def score(self, observations: Sequence[NDArray[np.float64]]) -> Score:
        """Return the mean in percent; it is negative where the error exceeds the signal."""
        return mean_percent("fidelity", np.concatenate(observations))


def fidelity(interface: ModelInterface) -> Metric[NDArray[np.float64]]:
    """Choose by the outputs: agreement of classes, or relative error of all floating-point outputs."""
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


def _relative_error(result: BatchResult, name: str) -> NDArray[np.float64]:
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
    rows = output.reshape(result.samples, -1).astype(np.float64)
    reference = original.reshape(result.samples, -1).astype(np.float64)
    difference = np.linalg.norm(rows - reference, axis=1)
    norm = np.linalg.norm(reference, axis=1)
    error = np.divide(difference, norm, out=(difference > 0).astype(np.float64), where=norm > 0)
    return np.where(np.isnan(error), np.inf, error)
