"""Every weighted layer before and after pruning, and what keeps it from being faster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import onnx

from toolchain.emit.report import LayerFigure
from toolchain.graph.analysis import Analysis, ParameterSite
from toolchain.graph.labels import Role
from toolchain.pipeline.contract import Cut
from toolchain.targets.contract import Alignment

MOST_REASONS = 2


def layer_figures(
    analysis: Analysis, cut: Cut, shipped: onnx.ModelProto, alignment: Alignment
) -> tuple[LayerFigure, ...]:
    """Describe the layers of the model that was cut, in the order of its nodes; `analysis` is that model's."""
    ranks = {tensor.name: len(tensor.dims) for tensor in analysis.model.graph.initializer}
    by_node: dict[int, list[ParameterSite]] = defaultdict(list)
    for site in analysis.sites:
        if ranks[site.parameter] > 1:
            by_node[site.node_index].append(site)
    describe = _Describer(analysis, cut, {tensor.name for tensor in shipped.graph.initializer}, alignment)
    layers = (describe.layer(number, sites) for number, sites in sorted(by_node.items()))
    return tuple(layer for layer in layers if layer is not None)


class _Describer:
    """Looks up widths and reasons."""

    def __init__(self, analysis: Analysis, cut: Cut, left: set[str], alignment: Alignment) -> None:
        self._analysis = analysis
        self._cut = cut
        self._left = left
        self._alignment = alignment
        self._names: Mapping[int, str] = {int(unit): group.name for group in analysis.groups for unit in group.units}
        self._reasons: Mapping[int, str] = {
            int(unit): str(group.reason) for group in analysis.groups if group.reason for unit in group.units
        }

    def layer(self, number: int, sites: Sequence[ParameterSite]) -> LayerFigure | None:
        """Describe one node; None where its parameter carries no output channels."""
        producing = next((site for site in sites if site.role is not Role.CONSUMES), None)
        if producing is None:
            return None
        consuming = next((site for site in sites if site.role is Role.CONSUMES), None)
        node = self._analysis.index.nodes[number]
        outputs_before, outputs_after = self._width(producing)
        inputs_before, inputs_after = self._width(consuming) if consuming else (0, 0)
        return LayerFigure(
            name=node.name or node.output[0],
            op_type=node.op_type,
            outputs_before=outputs_before,
            outputs_after=outputs_after,
            inputs_before=inputs_before,
            inputs_after=inputs_after,
            notes=tuple(self._notes(producing, consuming)),
        )

    def _width(self, site: ParameterSite) -> tuple[int, int]:
        before = len(site.units)
        if site.parameter not in self._left:
            return before, 0
        positions = self._cut.kept.get(site.parameter, {}).get(site.axis)
        return before, before if positions is None else len(positions)

    def _notes(self, producing: ParameterSite, consuming: ParameterSite | None) -> Iterator[str]:
        if producing.parameter not in self._left:
            yield "gone with its branch"
            return
        before, after = self._width(producing)
        if before == after:
            yield self._why_unchanged(producing)
        elif after % self._alignment.preferred:
            ceiling = after + -after % self._alignment.preferred
            yield (
                f"{after} outputs are no multiple of {self._alignment.preferred}, which this target prefers: "
                f"they may take as long as {ceiling}"
            )
        if consuming is None:
            return
        before, after = self._width(consuming)
        if before == after:
            yield f"reads all {before} inputs: {self._why_unchanged(consuming)}"

    def _why_unchanged(self, site: ParameterSite) -> str:
        reasons = dict.fromkeys(self._reasons[unit] for unit in site.units.tolist() if unit in self._reasons)
        if not reasons:
            names = dict.fromkeys(self._names[unit] for unit in site.units.tolist() if unit in self._names)
            return f"the search left {' and '.join(list(names)[:MOST_REASONS])} as wide as it was"
        more = f" (and {len(reasons) - MOST_REASONS} more)" if len(reasons) > MOST_REASONS else ""
        return f"frozen by {'; '.join(list(reasons)[:MOST_REASONS])}{more}"
