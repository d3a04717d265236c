"""Parameters and multiply-accumulates: of a model, and of a plan without cutting anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
import numpy.typing as npt
import onnx

from toolchain.graph.analysis import Analysis
from toolchain.graph.facts import UNKNOWN
from toolchain.graph.labels import Role
from toolchain.graph.rule import Rule

FLOATING = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
)


@dataclass(frozen=True)
class Cost:
    """Parameters (floating-point ones), and multiply-accumulates of one batch at the bound sizes."""

    parameters: int
    macs: int


def parameter_count(model: onnx.ModelProto) -> int:
    """Return the number of floating-point parameters."""
    return sum(prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type in FLOATING)


class CostModel:
    """Counts what a removal saves: a node's work scales with what it keeps of each axis of its weight."""

    def __init__(self, analysis: Analysis, rules: Mapping[str, Rule]) -> None:
        self._axes: dict[int, list[npt.NDArray[np.int64]]] = defaultdict(list)
        self._macs = {
            number: rules[node.op_type].macs(analysis.view(number))
            for number, node in enumerate(analysis.index.nodes)
            if node.op_type in rules and _is_known(analysis, node)
        }
        for site in analysis.sites:
            if self._macs.get(site.node_index) and _is_weight(analysis, site.parameter, site.role):
                self._axes[site.node_index].append(site.units)
        self._parameters = parameter_count(analysis.model)
        self._sites = [
            (site.parameter, site.axis, site.units, analysis.facts[site.parameter].shape or ())
            for site in analysis.sites
        ]

    @property
    def total(self) -> Cost:
        """The cost with nothing removed."""
        return Cost(self._parameters, round(sum(self._macs.values())))

    def of(self, removed: npt.NDArray[np.bool_]) -> Cost:
        """Return the cost after removing these units (a mask over units)."""
        return Cost(self._parameters_after(removed), self._macs_after(removed, 1))

    def stair_macs(self, removed: npt.NDArray[np.bool_], multiple: int) -> int:
        """Count with every width rounded up to a multiple: what a target computes whose kernels work in blocks."""
        return self._macs_after(removed, multiple)

    def _macs_after(self, removed: npt.NDArray[np.bool_], multiple: int) -> int:
        shares = {
            number: prod(_share(removed[units], multiple) for units in self._axes[number])
            for number, macs in self._macs.items()
            if macs
        }
        return round(sum(self._macs[number] * share for number, share in shares.items()))

    def _parameters_after(self, removed: npt.NDArray[np.bool_]) -> int:
        sizes: dict[str, list[int]] = {}
        for parameter, axis, units, shape in self._sites:
            if len(units) == shape[axis]:
                sizes.setdefault(parameter, list(shape))[axis] = int(np.count_nonzero(~removed[units]))
        originals = {parameter: prod(shape) for parameter, _, _, shape in self._sites}
        return self._parameters - sum(originals[name] - prod(after) for name, after in sizes.items())


def _is_known(analysis: Analysis, node: onnx.NodeProto) -> bool:
    """Tell whether every tensor around a node has a known shape; behind an unknown op none has."""
    return all(analysis.facts.get(name, UNKNOWN).shape is not None for name in (*node.input, *node.output) if name)


def _share(removed: npt.NDArray[np.bool_], multiple: int) -> float:
    """Return what is kept of an axis, in blocks."""
    return ceil(np.count_nonzero(~removed) / multiple) / ceil(len(removed) / multiple)


def _is_weight(analysis: Analysis, parameter: str, role: Role) -> bool:
    """Tell a weight, whose axes scale the work, from a bias, which does not."""
    rank = analysis.facts[parameter].rank or 0
    return rank > 1 and role in (Role.PRODUCES, Role.CONSUMES, Role.SCALES)
