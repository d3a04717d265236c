"""Whether what torch-pruning removes leaves the function that the kept channels had: pruned equals masked.

Its groups are cut one after another, in float64. Before each cut the same channels are held at zero wherever the
network makes or reads them; the cut is exact where the outputs then are the same. Statistics over channels (LayerNorm,
a mean over channels) change with their number, so a channel that feeds them is never cut exactly.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

EXACT = 1e-9
"""A difference relative to the largest output, in float64."""

Group = torch_pruning.dependency.Group


def exact_cuts(pruner: torch_pruning.pruner.BasePruner, run: Callable[[], Sequence[Tensor]]) -> set[nn.Module]:
    """Cut every group that the pruner offers; return the first layers of those that leave the function alone."""
    found = set()
    for group in pruner.step(interactive=True):
        with held_at_zero(group):
            masked = run()
        group.prune()
        if max(map(_relative_error, run(), masked)) <= EXACT:
            found.add(group[0].dep.target.module)
    return found


@contextmanager
def held_at_zero(group: Group) -> Iterator[None]:
    """Zero a group's channels in what its layers make and in what they read."""
    hooks = []
    for dependency, indices in group:
        layer = dependency.target.module
        if not isinstance(layer, (_ConvNd, _BatchNorm, nn.Linear)):
            continue  # it makes no channels: what it reads is held
        axis = -1 if isinstance(layer, nn.Linear) else 1
        if "in_channels" in dependency.handler.__name__:
            hooks.append(layer.register_forward_pre_hook(lambda _, read, a=axis, i=indices: _zeroed(read[0], a, i)))
        else:
            hooks.append(layer.register_forward_hook(lambda _, __, made, a=axis, i=indices: _zeroed(made, a, i)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _zeroed(value: Tensor, axis: int, indices: Sequence[int]) -> Tensor:
    return value.index_fill(axis, torch.tensor(indices), 0.0)


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())
