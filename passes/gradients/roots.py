"""Roots of the Fisher matrix of a network's outputs: the directions in which gradients are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from toolchain.data.divergence import feature_weights


def roots(outputs: Sequence[Tensor], draws: int, generator: np.random.Generator) -> Iterator[list[Tensor]]:
    """Yield vectors whose outer products add up, in expectation, to the Fisher matrix of the outputs of a sample.

    1. One output [N, classes] of scores: rows of sqrt(p_k) (e_k - p). Of probabilities: e_k / sqrt(p_k).
    2. Anything else: e_i sqrt(2 / (variance of the element's feature * elements per sample * outputs)); with so many
       elements a fifth of the draws will do.
    """
    if are_class_scores(outputs):
        root, classes = _class_root(outputs[0]), outputs[0].shape[1]
        if classes <= draws:
            yield from ([root(row.expand_as(outputs[0]))] for row in torch.eye(classes))
            return
        yield from ([root(_signs(outputs[0], generator)) / draws**0.5] for _ in range(draws))
        return
    few = max(1, draws // 5)
    weights = feature_weights([{str(number): item.detach().numpy() for number, item in enumerate(outputs)}])
    scales = [
        (2 * torch.from_numpy(weights[str(number)]).to(item.dtype) / (item[0].numel() * len(outputs) * few)).sqrt()
        for number, item in enumerate(outputs)
    ]
    for _ in range(few):
        yield [scale * _signs(item, generator) for scale, item in zip(scales, outputs, strict=True)]


def are_class_scores(outputs: Sequence[Tensor]) -> bool:
    """Tell a single output [N, classes], of scores or probabilities, from any other."""
    return len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[1] > 1


def _class_root(output: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function s -> sum_k s_k v_k."""
    is_distribution = bool((output >= 0).all() and torch.allclose(output.sum(1), torch.ones(()), atol=1e-3))
    if is_distribution:
        return lambda signs: signs / output.clamp_min(torch.finfo(output.dtype).tiny).sqrt()
    probabilities = output.softmax(1)
    half = probabilities.sqrt()
    return lambda signs: half * signs - probabilities * (half * signs).sum(1, keepdim=True)


def _signs(like: Tensor, generator: np.random.Generator) -> Tensor:
    drawn = generator.integers(0, 2, tuple(like.shape), dtype=np.int8)
    return torch.from_numpy(drawn).to(like.dtype) * 2 - 1
