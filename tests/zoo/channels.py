"""The prunable groups of a network without names, to compare its exports by."""

from collections import Counter

import numpy as np

from toolchain.graph.analysis import Analysis, Group
from toolchain.graph.coverage import producing_weights


def partition(analysis: Analysis) -> Counter[tuple[int, int]]:
    """Describe the prunable groups: (width, channels that produce them) of each."""
    return Counter((group.width, _produced(analysis, group)) for group in analysis.prunable_groups)


def _produced(analysis: Analysis, group: Group) -> int:
    return sum(int(np.isin(site.units, group.units).sum()) for site in producing_weights(group.sites, analysis))
