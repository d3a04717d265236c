"""Give every unit a mask in the graph: what its consumers read is multiplied by an input of the network.

    consumer(x)    becomes    consumer(x * m)        m of size 1 along all axes of x but the units' (and the batch)

With m = 1 the network is as it was; with m_u = 0 wherever unit u is read it is the network without u, for a unit
that no weight reads is gone. The gradient with respect to m needs neither the layers nor their names. A group that no
weight reads at all is masked where weights make it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from toolchain.graph.analysis import Analysis, Group
from toolchain.graph.labels import Role

SUFFIX = "_unit_mask"


@dataclass(frozen=True, eq=False)
class UnitMask:
    """A new graph input, the tensor it multiplies, and the unit at each position along the tensor's axis."""

    name: str
    tensor: str
    shape: tuple[int | str, ...]
    axis: int
    units: npt.NDArray[np.int64]

    @property
    def batched(self) -> bool:
        """Tell whether every sample has a mask of its own, so that gradients are per sample."""
        return self.axis != 0 and self.shape[0] != 1


@dataclass(frozen=True, eq=False)
class MaskedModel:
    """A model with masks; groups that no weight reads or makes have none."""

    model: onnx.ModelProto
    masks: tuple[UnitMask, ...]


def mask_units(analysis: Analysis, groups: Sequence[Group], *, batch: int | str = 1) -> MaskedModel:
    """Put a mask before all readers of these groups, with this batch axis where the tensor has the network's."""
    readers = _readers(analysis, groups)
    copy = onnx.ModelProto()
    copy.CopyFrom(analysis.model)
    masks = tuple(_mask(analysis, tensor, batch) for tensor in readers)
    for mask in masks:
        data_type = analysis.facts[mask.tensor].dtype
        copy.graph.input.append(helper.make_tensor_value_info(mask.name, data_type, mask.shape))
        for number in readers[mask.tensor]:
            inputs = copy.graph.node[number].input
            inputs[:] = [f"{mask.name}ed" if name == mask.tensor else name for name in inputs]
    _insert(copy.graph, analysis, masks)
    return MaskedModel(copy, masks)


def _readers(analysis: Analysis, groups: Sequence[Group]) -> dict[str, list[int]]:
    """Return, for each tensor that takes a mask, the numbers of the nodes that read it masked."""
    found: dict[str, set[int]] = {}
    for group in groups:
        consumers = list(_consumers(analysis, group))
        for tensor, number in consumers or _readers_of_what_is_made(analysis, group):
            found.setdefault(tensor, set()).add(number)
    return {tensor: sorted(numbers) for tensor, numbers in found.items()}


def _consumers(analysis: Analysis, group: Group) -> Iterator[tuple[str, int]]:
    for site in group.sites:
        node = analysis.index.nodes[site.node_index]
        live = [name for name in node.input if name in analysis.tensors and name not in analysis.index.constants]
        if site.role is Role.CONSUMES and live:
            yield live[0], site.node_index


def _readers_of_what_is_made(analysis: Analysis, group: Group) -> Iterator[tuple[str, int]]:
    for site in group.sites:
        made = analysis.index.nodes[site.node_index].output[0]
        if site.role is Role.PRODUCES and made in analysis.tensors:
            yield from ((made, use.node_index) for use in analysis.index.uses.get(made, ()))


def _mask(analysis: Analysis, tensor: str, batch: int | str) -> UnitMask:
    axis, sizes = analysis.tensors[tensor], analysis.facts[tensor].shape or ()
    whole = analysis.facts[analysis.index.inputs[0].name].shape or (0,)
    shape: list[int | str] = [1] * len(sizes)
    if axis.axis != 0 and sizes[0] == whole[0]:
        shape[0] = batch
    shape[axis.axis] = len(axis.units)
    return UnitMask(f"{tensor}{SUFFIX}", tensor, tuple(shape), axis.axis, axis.units)


def _insert(graph: onnx.GraphProto, analysis: Analysis, masks: Sequence[UnitMask]) -> None:
    """Insert each product right behind the node that makes its tensor."""
    behind: dict[int, list[onnx.NodeProto]] = {}
    for mask in masks:
        node = helper.make_node("Mul", [mask.tensor, mask.name], [f"{mask.name}ed"], name=mask.name)
        behind.setdefault(analysis.index.producers.get(mask.tensor, -1), []).append(node)
    nodes = list(behind.get(-1, []))
    for number, node in enumerate(list(graph.node)):
        nodes += [node, *behind.get(number, [])]
    del graph.node[:]
    graph.node.extend(nodes)
