"""`information-gain`: how far the output distribution moves without a unit (HFP, Yu et al., ICPR 2020). No labels.

    IG(u) = E_x KL( p(y|x) || p(y|x; u masked) )

1. `forward`, the definition: the activations that the unit's consumers read are kept, the unit is set to zero in all
   of them, the network behind them is run again. One run of that part per unit.
2. `fisher`, to second order around the mask m = 1 (as Group Fisher, Liu et al. 2021, equation 4):

       IG(u) = 1/2 E_x E_{y~p} (d log p(y|x) / d m_u)^2  =  1/2 E_x sum_k (v_k . dz/dm_u)^2,    sum_k v_k v_k^T = F

   where a unit is read in several places, the gradients are summed before they are squared. F is the Fisher matrix of
   the outputs z: diag(p) - p p^T for scores, diag(1/p) for probabilities. With at most `draws` classes the sum is
   exact, v_k = sqrt(p_k) (e_k - p); with more it is estimated from `draws` vectors sum_k s_k v_k, s_k = +-1.
3. Outputs that are no class scores: y is z with Gaussian noise, and KL becomes the relative squared error.

HFP gives the definition; masks of groups, the second order and outputs without classes are this project's.
A group that no weight reads has its masks where it is made, and without any the score of its weights (`l2`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from passes.criteria.l2 import L2
from passes.unit_masks import MaskedModel, mask_units
from toolchain.criterion import Calibration, Criterion, Feeds, Scores, batch_size
from toolchain.data.divergence import divergence
from toolchain.graph.analysis import Analysis, Group
from toolchain.targets.onnxruntime import ReferenceSession

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class InformationGain(Criterion):
    """KL divergence of the outputs, in nats, that the removal of one unit alone causes.

    `max_samples` bounds how many calibration samples are looked at, `draws` the backward passes per batch.
    """

    needs_data: ClassVar[bool] = True

    mode: Literal["forward", "fisher"] = "fisher"
    max_samples: int = 128
    draws: int = 10
    seed: int = 0

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:
        """Score every group that a weight reads by its mask."""
        if calibration is None:
            raise ValueError("information-gain needs calibration data")
        batches = list(_first(calibration.batches(), self.max_samples, analysis))
        measure = self._forward if self.mode == "forward" else self._fisher
        gains = measure(analysis, batches)
        return {**L2().scores(analysis, None), **gains}

    def _forward(self, analysis: Analysis, batches: Sequence[Feeds]) -> Scores:
        masked = {group: mask_units(analysis, [group]) for group in analysis.prunable_groups}
        return {
            group.name: _by_masking(analysis, group, found, batches) for group, found in masked.items() if found.masks
        }

    def _fisher(self, analysis: Analysis, batches: Sequence[Feeds]) -> Scores:
        from passes.gradients.masks import MaskGradients
        from passes.gradients.roots import roots

        generator = np.random.default_rng(self.seed)
        totals: dict[str, Vector] = {}
        gradients = MaskGradients.of(analysis)
        for found in gradients.over(batches, lambda outputs: roots(outputs, self.draws, generator)):
            for name, values in found.items():
                totals[name] = totals.get(name, 0.0) + np.sum(values**2, axis=0)
        samples = max(sum(batch_size(feeds) for feeds in batches), 1)
        return {name: total / (2 * samples) for name, total in totals.items()}


def _by_masking(analysis: Analysis, group: Group, masked: MaskedModel, batches: Sequence[Feeds]) -> Vector:
    """Run what lies behind a group's consumers once per unit, on activations computed once."""
    tail, boundary = _tail(masked, analysis)
    before = ReferenceSession(analysis.model, boundary, optimise=True) if boundary else None
    behind = ReferenceSession(tail, optimise=True)
    total, samples = np.zeros(group.width), 0
    for feeds in batches:
        held = {**feeds, **(before.run(feeds) if before else {})}
        held = {item.name: held[item.name] for item in tail.graph.input if item.name in held}
        expected = behind.run({**held, **_masks(analysis, masked, -1)})
        for position, unit in enumerate(group.units):
            found = behind.run({**held, **_masks(analysis, masked, int(unit))})
            total[position] += batch_size(feeds) * divergence(expected, found)
        samples += batch_size(feeds)
    return total / max(samples, 1)


def _tail(masked: MaskedModel, analysis: Analysis) -> tuple[onnx.ModelProto, list[str]]:
    """Cut off what lies before the masks: the rest as a model, and the tensors that it takes from the front."""
    graph, names = masked.model.graph, {mask.name for mask in masked.masks}
    reached, nodes = set(names), []
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            nodes.append(node)
    made = {name for node in nodes for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    taken = dict.fromkeys(
        name for node in nodes for name in node.input if name and name not in made | constants | names
    )
    inputs = [item for item in graph.input if item.name in names]
    inputs += [helper.make_tensor_value_info(name, analysis.facts[name].dtype, None) for name in taken]
    outputs = [item for item in graph.output if item.name in made]
    read = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    tail = helper.make_model(
        helper.make_graph(nodes, graph.name, inputs, outputs, weights),
        opset_imports=masked.model.opset_import,
        ir_version=masked.model.ir_version,
    )
    fed = {item.name for item in analysis.index.inputs}
    return tail, [name for name in taken if name not in fed]


def _masks(analysis: Analysis, masked: MaskedModel, unit: int) -> dict[str, npt.NDArray[Any]]:
    """Return ones, and zeros where this unit is."""
    return {
        mask.name: (mask.units != unit)
        .reshape([int(size) for size in mask.shape])
        .astype(helper.tensor_dtype_to_np_dtype(analysis.facts[mask.tensor].dtype))
        for mask in masked.masks
    }


def _first(batches: Iterable[Feeds], count: int, analysis: Analysis) -> Iterator[Feeds]:
    """Yield leading samples, `count` at most; a batch whose size is fixed comes whole."""
    fixed = bool(analysis.index.inputs[0].type.tensor_type.shape.dim[0].dim_value)
    left = count
    for feeds in batches:
        if left <= 0:
            return
        taken = batch_size(feeds) if fixed else min(left, batch_size(feeds))
        left -= taken
        yield {name: value[:taken] for name, value in feeds.items()}
