"""Gradients with respect to the masks of units, sample by sample, through the emitted PyTorch module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from passes.unit_masks import MaskedModel, UnitMask, mask_units
from toolchain.criterion import Feeds, batch_size
from toolchain.emit.torch_module.emitter import Emitter, emitter_table
from toolchain.emit.torch_module.instance import instantiate
from toolchain.emit.torch_module.module import write_torch_module
from toolchain.graph.analysis import Analysis
from toolchain.graph.normalise import normalise
from toolchain.registry import scan

Matrix = npt.NDArray[np.float64]
Directions = Callable[[Sequence[Tensor]], Iterator[Sequence[Tensor]]]
"""Given the outputs, yields vectors v, one part per output: each asks for the gradient of sum(v * outputs)."""


@dataclass(frozen=True, eq=False)
class MaskGradients:
    """A network whose units have masks, ready to be differentiated."""

    analysis: Analysis
    masked: MaskedModel
    network: torch.nn.Module

    @classmethod
    def of(cls, analysis: Analysis) -> MaskGradients:
        """Mask every prunable unit and write the network as PyTorch.

        Raises ModelError for an op without an emitter.
        """
        dim = analysis.index.inputs[0].type.tensor_type.shape.dim[0]
        masked = mask_units(analysis, analysis.prunable_groups, batch=dim.dim_param or dim.dim_value)
        return cls(analysis, masked, _network(masked.model))

    def over(self, batches: Iterable[Feeds], directions: Directions) -> Iterator[Mapping[str, Matrix]]:
        """Yield, for each batch and direction, an array [samples, units] per group that has masks.

        Where a batch would not tell its samples apart they are fed one by one.
        """
        if not self.masked.masks:
            return
        per_sample = all(mask.batched for mask in self.masked.masks)
        for feeds in batches if per_sample else _one_by_one(batches):
            yield from self._of_units(feeds, directions)

    def _of_units(self, feeds: Feeds, directions: Directions) -> Iterator[Mapping[str, Matrix]]:
        samples = batch_size(feeds)
        masks = [self._ones(mask, samples) for mask in self.masked.masks]
        values = (torch.from_numpy(np.array(feeds[item.name])) for item in self.analysis.index.inputs)
        outputs = self.network(*values, *masks)
        outputs = [item for item in (outputs if isinstance(outputs, tuple) else (outputs,)) if item.requires_grad]
        if not outputs:  # an ArgMax tells nothing
            return
        for direction in directions([item.detach() for item in outputs]):
            yield self._by_group(torch.autograd.grad(outputs, masks, direction, retain_graph=True, allow_unused=True))

    def _ones(self, mask: UnitMask, samples: int) -> Tensor:
        shape = [samples if mask.batched and axis == 0 else int(size) for axis, size in enumerate(mask.shape)]
        data_type = onnx.helper.tensor_dtype_to_np_dtype(self.analysis.facts[mask.tensor].dtype)
        return torch.from_numpy(np.ones(shape, data_type)).requires_grad_()

    def _by_group(self, gradients: Sequence[Tensor | None]) -> dict[str, Matrix]:
        """Add up what the masks of a unit got, wherever it is read, sample by sample."""
        masked = np.zeros(self.analysis.unit_count, np.bool_)
        samples = max((item.shape[0] for item in gradients if item is not None), default=1)
        total = np.zeros((samples, self.analysis.unit_count))
        for mask, gradient in zip(self.masked.masks, gradients, strict=True):
            masked[mask.units] = True
            if gradient is not None:
                rows = gradient.numpy().astype(np.float64).reshape(-1, len(mask.units))
                np.add.at(total.T, mask.units, rows.T)
        groups = self.analysis.prunable_groups
        return {group.name: total[:, group.units] for group in groups if masked[group.units].any()}


def _one_by_one(batches: Iterable[Feeds]) -> Iterator[Feeds]:
    for feeds in batches:
        yield from ({name: value[row : row + 1] for name, value in feeds.items()} for row in range(batch_size(feeds)))


def _network(model: onnx.ModelProto) -> torch.nn.Module:
    """Write the module and load it, its own weights constant."""
    emitters = emitter_table(scan("passes.emitters", Emitter))  # type: ignore[type-abstract]
    return instantiate(write_torch_module(normalise(model), emitters, batchnorm=False))
