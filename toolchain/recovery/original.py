"""What the network computed before pruning, at sampled positions: the targets of every repair of every candidate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.criterion import Calibration, Feeds, batch_size, up_to
from toolchain.data.divergence import Expected
from toolchain.graph.analysis import Analysis
from toolchain.graph.facts import Fact
from toolchain.graph.index import GraphIndex
from toolchain.graph.layerwise import samples_within
from toolchain.recovery.layer import Array, Indices, LinearLayer, linear_layers, position_shape, rows_of
from toolchain.targets.onnxruntime import ReferenceSession

FEWEST_POSITIONS, FEWEST_PER_UNKNOWN = 4096, 16
"""What few samples give too: a fit on fewer positions follows their noise."""


@dataclass(frozen=True)
class Sampling:
    """How much is looked at.

    `samples` counts fitting and held-out ones, `positions_per_unknown` what a layer is fitted on where there are so
    many samples; fewer have fewer, since neighbours in one image say much the same. `memory_bytes` bounds activations
    held at a time (half of it) and targets kept (a quarter).
    """

    samples: int
    positions_per_unknown: int
    memory_bytes: int
    seed: int


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows (positions, channels) of one tensor in one batch, and the batch's shape of it."""

    at: Indices
    shape: tuple[int, ...]
    rows: Array


@dataclass(frozen=True, eq=False)
class Target:
    """What a layer shall bring about.

    `tensor` is its own output or, where it ends a residual branch, the sum it joins; `shortcut` is then the
    other operand: what the pruned network's shortcut lacks, the layer makes up for.
    """

    layer: LinearLayer
    tensor: str
    shortcut: str
    samples: Sequence[Sample]


@dataclass(frozen=True, eq=False)
class Original:
    """Samples, targets by the output of a layer's node, and what is expected on the held-out samples.

    `batches` are the fitting ones followed by the held-out ones; `fitting` counts the former.
    """

    analysis: Analysis
    layers: Mapping[str, LinearLayer]
    batches: Sequence[Feeds]
    fitting: int
    targets: Mapping[str, Target]
    expected: Expected

    @property
    def held_out(self) -> Sequence[Feeds]:
        """The batches that judge."""
        return self.batches[self.fitting :]


def observe_original(
    analysis: Analysis, kinds: Iterable[type[LinearLayer]], calibration: Calibration, sampling: Sampling
) -> Original:
    """Run the original on all samples that fit into memory, and keep every layer's output at random positions."""
    index = analysis.index
    layers = {index.nodes[number].output[0]: layer for number, layer in linear_layers(index, kinds).items()}
    limit = min(sampling.samples, samples_within(index, analysis.facts, sampling.memory_bytes // 2))
    fitting = list(up_to(calibration.batches(), fitting_part(limit)))
    held_out = list(up_to(calibration.held_out(), max(1, limit // 4)))
    ends = {name: _end(analysis, layer) for name, layer in layers.items()}
    batches = [*fitting, *held_out]
    positions = _positions(analysis, layers, sampling, sum(map(batch_size, fitting)))
    samples = _samples(analysis, layers, ends, calibration, batches, positions, len(fitting), sampling)
    targets = {name: Target(layers[name], *ends[name], samples[name]) for name in layers}
    session = ReferenceSession(analysis.model)
    expected = Expected([session.run(feeds) for feeds in held_out])
    return Original(analysis, layers, batches, len(fitting), targets, expected)


def fitting_part(samples: int) -> int:
    """Return how many of the samples make results: all but a quarter, which chooses between them."""
    return max(1, samples * 3 // 4)


def in_rounds(names: Sequence[str], facts: Mapping[str, Fact], batch: int, limit_bytes: int) -> Iterator[list[str]]:
    """Divide tensors into rounds whose values for one batch stay within a limit; one tensor is always a round."""
    round_: list[str] = []
    used = 0
    for name in names:
        shape = facts[name].shape or (1,)
        size = 4 * prod(shape) * batch // max(shape[0], 1)
        if round_ and used + size > limit_bytes:
            yield round_
            round_, used = [], 0
        round_.append(name)
        used += size
    if round_:
        yield round_


def positions_for(unknowns: int, sampling: Sampling, fitting: int) -> int:
    """Return how many positions so many unknowns are fitted on: in proportion to them and to the samples that fit."""
    share = min(1.0, fitting / fitting_part(sampling.samples))
    per_unknown = min(max(sampling.positions_per_unknown * share, FEWEST_PER_UNKNOWN), sampling.positions_per_unknown)
    return max(FEWEST_POSITIONS, int(per_unknown * unknowns))


def draw(count: int, available: int, key: Sequence[int]) -> Indices:
    """Draw positions, each at most once, in order."""
    if count >= available:
        return np.arange(available)
    return np.sort(np.random.default_rng(key).choice(available, count, replace=False, shuffle=False))


def _samples(
    analysis: Analysis,
    layers: Mapping[str, LinearLayer],
    ends: Mapping[str, tuple[str, str]],
    calibration: Calibration,
    batches: Sequence[Feeds],
    positions: Mapping[str, int],
    fitting: int,
    sampling: Sampling,
) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {name: [] for name in layers}
    number = {name: i for i, name in enumerate(layers)}
    by_tensor: dict[str, list[str]] = {}
    for name, (tensor, _) in ends.items():
        by_tensor.setdefault(tensor, []).append(name)
    largest = max(batch_size(feeds) for feeds in batches)
    for round_ in in_rounds(list(by_tensor), analysis.facts, largest, sampling.memory_bytes // 2):
        run = calibration.observe(round_)
        for i, feeds in enumerate(batches):
            for tensor, value in run(feeds).items():
                for name in by_tensor[tensor]:
                    axis = layers[name].channel_axis(value.ndim)
                    available = prod(position_shape(value.shape, axis))
                    at = draw(-(-positions[name] // fitting), available, (sampling.seed, number[name], i))
                    samples[name].append(Sample(at, value.shape, rows_of(value, axis, at)))
    return samples


def _positions(
    analysis: Analysis, layers: Mapping[str, LinearLayer], sampling: Sampling, fitting: int
) -> dict[str, int]:
    """Return how many positions each layer is fitted on, within the memory."""
    shapes = {name: analysis.facts[layer.weight].shape or () for name, layer in layers.items()}
    unknowns = {name: len(layer.column_channels(shapes[name])) for name, layer in layers.items()}
    wanted = {name: positions_for(count, sampling, fitting) for name, count in unknowns.items()}
    widths = {
        name: (shape := analysis.facts[layer.output].shape or (1,))[layer.channel_axis(len(shape))]
        for name, layer in layers.items()
    }
    used = sum(4 * wanted[name] * widths[name] for name in layers) * 4 / 3
    share = min(1.0, sampling.memory_bytes / 4 / max(used, 1))
    return {name: max(1, int(count * share)) for name, count in wanted.items()}


def _end(analysis: Analysis, layer: LinearLayer) -> tuple[str, str]:
    """Return the tensor a layer aims at, and the shortcut where that is a sum whose other operand is made before."""
    index = analysis.index
    uses = index.uses.get(layer.output, ())
    reader = index.nodes[uses[0].node_index] if len(uses) == 1 else None
    if reader is None or reader.op_type != "Add" or layer.output in {item.name for item in index.outputs}:
        return layer.output, ""
    other = next((name for name in reader.input if name != layer.output), "")
    shapes = [analysis.facts[name].shape for name in (layer.output, other) if name]
    live = other and other not in index.constants and len(shapes) == 2 and shapes[0] == shapes[1]
    return (reader.output[0], other) if live and _made_before(index, other, layer) else (layer.output, "")


def _made_before(index: GraphIndex, tensor: str, layer: LinearLayer) -> bool:
    return index.producers.get(tensor, -1) < index.producers[layer.node.output[0]]
