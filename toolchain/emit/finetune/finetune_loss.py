"""How far the network that finetune.py trains is from its teacher and the labels."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

import torch
from finetune_data import Recipe
from finetune_network import trained_outputs
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

LEAST_VARIANCE = 1e-2
"""What is added to the variances of features, as a share of their geometric mean: one that hardly ever moves would
drown the others in its noise."""
NO_VARIANCE = 1e-12
"""What is none beside the largest."""
FEWEST_VALUES = 8
"""Of a feature, that tell its variance."""


@torch.no_grad()
def feature_weights(batches: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """Return 1 / variance of each feature of each output, shaped to multiply it; from what a teacher says.

    Features lie along the axis, behind the first, along which variances differ most: the boxes and scores of a
    detector, which differ a hundredfold, the maps of a segmentation. Where there are too few values of each, all of
    them are one feature.
    """
    sums: dict[tuple[int, int], Tensor] = {}
    ranks: dict[int, int] = {}
    for targets in batches:
        for number, target in enumerate(targets):
            ranks[number] = target.ndim
            for axis in range(target.ndim):  # the first one stands for all values together
                rows = target.double().movedim(axis, 0).flatten(1) if axis else target.double().reshape(1, -1)
                found = torch.stack((torch.full_like(rows[:, 0], rows.shape[1]), rows.sum(1), rows.square().sum(1)))
                sums[number, axis] = sums.get((number, axis), 0) + found
    return [_weight([sums[number, axis] for axis in range(rank)]) for number, rank in ranks.items()]


def _weight(sums: Sequence[Tensor]) -> Tensor:
    known = [axis for axis in range(1, len(sums)) if float(sums[axis][0].min()) >= FEWEST_VALUES] or [0]
    variances = {axis: _softened_variance(sums[axis]) for axis in known}
    chosen = max(known, key=lambda axis: _spread(variances[axis]))
    return (1 / variances[chosen]).float().reshape([-1 if axis == chosen else 1 for axis in range(len(sums))])


def _softened_variance(sums: Tensor) -> Tensor:
    count, total, squares = sums
    variance: Tensor = (squares / count - (total / count).square()).clamp_min(0)
    softened: Tensor = variance + LEAST_VARIANCE * variance.clamp_min(NO_VARIANCE * variance.max()).log().mean().exp()
    return softened.clamp_min(NO_VARIANCE)


def _spread(variance: Tensor) -> float:
    """Return how unequal variances are: the logarithm of their arithmetic over their geometric mean."""
    return float(variance.mean().log() - variance.log().mean())


def loss_of(
    outputs: list[Tensor],
    targets: list[Tensor],
    weights: Sequence[Tensor],
    labels: Tensor,
    recipe: Recipe,
    args: argparse.Namespace,
) -> Tensor:
    """Return how far the outputs are from the teacher's and the labels; outputs add up.

    1. Classes: (1 - a) T^2 KL(softmax(teacher / T) || softmax(student / T)) + a cross-entropy, a the label weight.
       (Hinton et al. 2015, section 2)
    2. Other values: the mean square of the difference, for each feature relative to the teacher's variance.
    """
    total = outputs[0].new_zeros(())
    for number, (output, spec) in enumerate(zip(outputs, trained_outputs(recipe), strict=True)):
        classes = bool(spec["classes"])
        if classes and args.label_weight > 0:
            total = total + args.label_weight * F.cross_entropy(output, labels)
        if not targets or (classes and args.label_weight == 1):
            continue
        target, t = targets[number], args.temperature
        if classes:
            soft, softened = F.log_softmax(target / t, 1), F.log_softmax(output / t, 1)
            distance = F.kl_div(softened, soft, reduction="batchmean", log_target=True)
            total = total + (1 - args.label_weight) * t * t * distance
        else:
            total = total + (weights[number] * (output - target).square()).mean()
    return total


def errors_of(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return for each sample the root of what `loss_of` says of values: 0 is the same, 1 as bad as a constant."""
    return (weight * (output - target).square()).reshape(len(output), -1).mean(1).sqrt()
