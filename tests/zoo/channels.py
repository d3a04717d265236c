"""What of a network its groups reach, counted in output channels of weighted layers, and compared between exports."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.graph.analysis import Analysis, Group, ParameterSite
from toolchain.graph.labels import Role


@dataclass(frozen=True)
class Channels:
    """Output channels of convolutions (depthwise ones excepted) and matrix products."""

    total: int
    prunable: int

    @property
    def share(self) -> float:
        """The share of channels that can be pruned."""
        return self.prunable / self.total


def count_channels(analysis: Analysis) -> Channels:
    """Count the channels of all producing weights, and of those the ones in prunable groups."""
    removable = np.zeros(analysis.unit_count, np.bool_)
    for group in analysis.prunable_groups:
        removable[group.units] = True
    sites = {(site.parameter, site.axis): site for site in _weights(analysis, analysis.sites)}.values()
    sizes = [(site, analysis.facts[site.parameter].shape[site.axis]) for site in sites]
    prunable = sum(int(np.count_nonzero(removable[site.units])) * size // len(site.units) for site, size in sizes)
    return Channels(sum(size for _, size in sizes), prunable)


def partition(analysis: Analysis) -> Counter[tuple[int, int]]:
    """Describe the prunable groups without names: (width, channels that produce them) of each."""
    return Counter((group.width, _produced(analysis, group)) for group in analysis.prunable_groups)


def _produced(analysis: Analysis, group: Group) -> int:
    return sum(int(np.isin(site.units, group.units).sum()) for site in _weights(analysis, group.sites))


def _weights(analysis: Analysis, sites: tuple[ParameterSite, ...]) -> Iterator[ParameterSite]:
    """Yield producing sites of weights; whether a layer has a bias depends on the exporter."""
    for site in sites:
        if site.role is Role.PRODUCES and len(analysis.facts[site.parameter].shape or ()) > 1:
            yield site
