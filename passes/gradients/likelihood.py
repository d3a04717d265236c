"""Gradients of the log-likelihood: how a sample's own answer becomes less likely when a unit is faded out.

    g_nu = d log p(y_n | x_n) / d m_u,   y_n ~ p(. | x_n),        m_u = 1 multiplies unit u wherever it is read

The labels y are drawn from the network's own output, so that none are needed: a softmax over classes, and for other
outputs a normal distribution around them, as wide as their root mean square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from passes.criteria.l2 import L2
from passes.gradients.masks import MaskGradients, Matrix
from passes.gradients.roots import are_class_scores
from toolchain.criterion import Calibration, Scores
from toolchain.graph.analysis import Analysis


def likelihood_gradients(
    analysis: Analysis, calibration: Calibration, generator: np.random.Generator
) -> Iterator[Mapping[str, Matrix]]:
    """Yield for each batch g [samples, units] of every group that weights read, or at least make.

    Raises ModelError where the model cannot be written in PyTorch.
    """
    gradients = MaskGradients.of(analysis)
    return gradients.over(calibration.batches(), lambda outputs: iter([_towards_drawn(outputs, generator)]))


def mean_over_samples(
    analysis: Analysis, calibration: Calibration, generator: np.random.Generator, measure: Callable[[Matrix], Matrix]
) -> Scores:
    """Return the mean of what `measure` makes of each gradient; groups without masks get the score of their weights."""
    sums: dict[str, Matrix] = {}
    samples = 0
    for gradients in likelihood_gradients(analysis, calibration, generator):
        samples += len(next(iter(gradients.values()), ()))
        for name, rows in gradients.items():
            sums[name] = sums.get(name, 0.0) + measure(rows).sum(0)
    by_weight = L2().scores(analysis, None)
    return {name: sums[name] / samples if name in sums else score for name, score in by_weight.items()}


def _towards_drawn(outputs: Sequence[Tensor], generator: np.random.Generator) -> list[Tensor]:
    """Return the gradients, with respect to the outputs, of the log-likelihood of what is drawn from them."""
    leaves = [output.double().requires_grad_() for output in outputs]
    likelihood = _of_classes(leaves[0], generator) if are_class_scores(outputs) else _of_normal(leaves, generator)
    found = torch.autograd.grad(likelihood, leaves)
    return [gradient.to(output.dtype) for gradient, output in zip(found, outputs, strict=True)]


def _of_normal(outputs: Sequence[Tensor], generator: np.random.Generator) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for output in outputs:
        noise = torch.from_numpy(generator.standard_normal(tuple(output.shape)))
        spread = output.detach().square().mean().sqrt().clamp_min(1e-12)
        total = total + (output * noise).sum() / spread
    return total


def _of_classes(scores: Tensor, generator: np.random.Generator) -> Tensor:
    """Take scores for logits, unless they are probabilities already."""
    sums_to_one = torch.allclose(scores.sum(1), scores.new_ones(()), atol=1e-3)
    logarithms = scores.clamp_min(1e-30).log() if sums_to_one and bool((scores >= 0).all()) else scores
    likelihoods = F.log_softmax(logarithms, 1)
    gumbel = torch.from_numpy(generator.gumbel(size=tuple(scores.shape)))
    drawn = (likelihoods.detach() + gumbel).argmax(1)
    return likelihoods.gather(1, drawn[:, None]).sum()
