"""How much of a network the prunable groups reach, counted in output channels of its weighted layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.graph.analysis import Analysis, ParameterSite
from toolchain.graph.labels import Role


@dataclass(frozen=True)
class Coverage:
    """Output channels of convolutions (depthwise ones excepted, which make no channels) and matrix products."""

    channels: int
    prunable: int

    @property
    def share(self) -> float:
        """The share of channels that can be pruned."""
        return self.prunable / self.channels if self.channels else 0.0


def coverage(analysis: Analysis) -> Coverage:
    """Count the channels of every producing weight once, and those of them in prunable groups."""
    removable = np.zeros(analysis.unit_count, np.bool_)
    for group in analysis.prunable_groups:
        removable[group.units] = True
    channels = prunable = 0
    for site in {(site.parameter, site.axis): site for site in producing_weights(analysis.sites, analysis)}.values():
        size = (analysis.facts[site.parameter].shape or ())[site.axis]
        repeats = size / len(site.units)  # labels of a transposed grouped convolution are those of one group
        channels += size
        prunable += round(np.count_nonzero(removable[site.units]) * repeats)
    return Coverage(channels, prunable)


def unknown_ops(analysis: Analysis) -> tuple[str, ...]:
    """Return the ops that have no rule, the most frequent first: what reaches them stays."""
    counts = Counter(node.op_type for node in analysis.index.nodes if node.op_type not in analysis.rules)
    return tuple(op for op, _ in counts.most_common())


def producing_weights(sites: tuple[ParameterSite, ...], analysis: Analysis) -> Iterator[ParameterSite]:
    """Yield the producing sites of weights; whether a layer has a bias too depends on the exporter."""
    for site in sites:
        if site.role is Role.PRODUCES and (analysis.facts[site.parameter].rank or 0) > 1:
            yield site
