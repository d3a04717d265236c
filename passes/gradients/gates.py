"""Gradients by gates: how a sample's log-likelihood changes when a unit is faded out.

    m_u = 1 multiplies unit u wherever a layer reads it         g_nu = d log p(y_n | x_n) / d m_u,   y_n ~ p(. | x_n)

A gate's gradient is the sum over the unit's positions of gradient times activation, over all layers that read it, as
its removal takes it from all of them. The labels y are drawn from the network's own output, so that none are needed:
a softmax over classes, and for other outputs a normal distribution around them, as wide as their root mean square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from passes.criteria.l2 import L2
from toolchain.criterion import Calibration, Scores
from toolchain.data.interface import ModelInterface
from toolchain.emit.torch_module.emitter import Emitter, emitter_table
from toolchain.emit.torch_module.instance import instantiate
from toolchain.emit.torch_module.module import TorchModule, write_torch_module
from toolchain.graph.analysis import Analysis, Group, ParameterSite
from toolchain.graph.labels import Role
from toolchain.graph.oracle import Feeds
from toolchain.registry import scan

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]


def gate_gradients(
    analysis: Analysis, calibration: Calibration, generator: np.random.Generator
) -> Iterator[Mapping[str, Matrix]]:
    """Yield for each batch g [samples, units] of every group that a layer reads, or at least makes.

    Raises ModelError where the model cannot be written in PyTorch.
    """
    emitters = emitter_table(scan("passes.emitters", Emitter))  # type: ignore[type-abstract]
    written = write_torch_module(analysis.model, emitters, batchnorm=False)
    network = instantiate(written)
    ports = _ports(analysis, written)
    interface = ModelInterface.of(analysis.model)
    with _Gates(network, {port.path: port.at_output for item in ports.values() for port in item}) as gates:
        for feeds in calibration.batches():
            likelihood = _log_likelihood(_run(network, interface, feeds), interface, generator)
            by_layer = gates.gradients(likelihood, len(next(iter(feeds.values()))))
            yield {name: _sum([port.units(by_layer[port.path]) for port in own]) for name, own in ports.items()}


def mean_over_samples(
    analysis: Analysis, calibration: Calibration, generator: np.random.Generator, measure: Callable[[Matrix], Matrix]
) -> Scores:
    """Return the mean of what `measure` makes of each gradient; groups without gates get the score of their weights."""
    sums: dict[str, Vector] = {}
    samples = 0
    for gradients in gate_gradients(analysis, calibration, generator):
        samples += len(next(iter(gradients.values()), ()))
        for name, rows in gradients.items():
            sums[name] = sums.get(name, 0.0) + measure(rows).sum(0)
    by_weight = L2().scores(analysis, None)
    return {name: sums[name] / samples if name in sums else score for name, score in by_weight.items()}


@dataclass(frozen=True, eq=False)
class _Port:
    """A layer that reads (or makes) units of a group, and which of its channels hold which."""

    path: str
    at_output: bool
    channels: int
    by_unit: sparse.csr_array

    def units(self, gradients: Matrix) -> Matrix:
        """Add up channels [samples, groups * channels] that hold the same unit."""
        folded = gradients.reshape(len(gradients), -1, self.channels).sum(1)
        return np.asarray(folded @ self.by_unit)


def _ports(analysis: Analysis, written: TorchModule) -> Mapping[str, list[_Port]]:
    numbers = analysis.index.producers
    nodes = analysis.index.nodes
    layers = {
        (numbers[item.node], nodes[numbers[item.node]].input[item.input_index]): item.state.rpartition(".")[0]
        for item in written.sources
    }
    result = {}
    for group in analysis.prunable_groups:
        for role in (Role.CONSUMES, Role.PRODUCES):
            chosen = {(s.node_index, s.parameter): s for s in group.sites if s.role is role}
            found = {layers[key]: site for key, site in chosen.items() if key in layers and _is_kernel(analysis, site)}
            if found:
                result[group.name] = [_port(group, path, site) for path, site in found.items()]
                break
    return result


def _is_kernel(analysis: Analysis, site: ParameterSite) -> bool:
    """Tell a layer's weight from its bias."""
    return analysis.index.array(site.parameter).ndim > 1


def _port(group: Group, path: str, site: ParameterSite) -> _Port:
    order = np.argsort(group.units)
    place = np.searchsorted(group.units, site.units, sorter=order).clip(max=group.width - 1)
    column = order[place]
    (row,) = np.nonzero(group.units[column] == site.units)
    shape = (len(site.units), group.width)
    matrix = sparse.csr_array((np.ones(len(row)), (row, column[row])), shape=shape)
    return _Port(path, site.role is Role.PRODUCES, len(site.units), matrix)


@dataclass
class _Gates:
    """Hooks that multiply what layers read (or make) by ones, one for each sample and channel."""

    network: nn.Module
    layers: Mapping[str, bool]
    ones: dict[str, list[tuple[Tensor, int]]] = field(default_factory=dict)

    def __enter__(self) -> _Gates:
        self._handles = []
        for path, at_output in self.layers.items():
            layer = self.network.get_submodule(path)
            if at_output:
                self._handles.append(layer.register_forward_hook(lambda m, _, y, p=path: self._gated(p, m, y)))
            else:
                self._handles.append(layer.register_forward_pre_hook(lambda m, x, p=path: (self._gated(p, m, x[0]),)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def gradients(self, likelihood: Tensor, samples: int) -> Mapping[str, Matrix]:
        """Return the gradient of every layer's gates [samples, channels], over all its uses; forget the gates."""
        flat = [(path, gate, axis) for path, uses in self.ones.items() for gate, axis in uses]
        self.ones = {}
        if not flat:
            return {}
        found = torch.autograd.grad(likelihood, [gate for _, gate, _ in flat], allow_unused=True)
        result: dict[str, Matrix] = {}
        for (path, gate, axis), gradient in zip(flat, found, strict=True):
            value = torch.zeros_like(gate) if gradient is None else gradient
            rows = value.movedim(axis, -1).reshape(samples, -1, gate.shape[axis]).sum(1).double().numpy()
            result[path] = result[path] + rows if path in result else rows
        return result

    def _gated(self, path: str, layer: nn.Module, values: Tensor) -> Tensor:
        axis = values.ndim - 1 if isinstance(layer, nn.Linear) else 1
        shape = [size if n in (0, axis) else 1 for n, size in enumerate(values.shape)]
        gate = torch.ones(shape, dtype=values.dtype, requires_grad=True)
        self.ones.setdefault(path, []).append((gate, axis))
        return values * gate


def _run(network: nn.Module, interface: ModelInterface, feeds: Feeds) -> Sequence[Tensor]:
    result = network(*(torch.from_numpy(np.array(feeds[spec.name])) for spec in interface.inputs))
    return result if isinstance(result, tuple) else (result,)


def _log_likelihood(outputs: Sequence[Tensor], interface: ModelInterface, generator: np.random.Generator) -> Tensor:
    """Return the sum over samples of the log-likelihood of outputs that are drawn."""
    total = torch.zeros((), dtype=torch.float64)
    for output, spec in zip(outputs, interface.outputs, strict=True):
        if spec == interface.class_output:
            total = total + _of_classes(output.double().flatten(1), generator)
        elif output.is_floating_point():
            noise = torch.from_numpy(generator.standard_normal(tuple(output.shape)))
            spread = output.detach().double().square().mean().sqrt().clamp_min(1e-12)
            total = total + (output.double() * noise).sum() / spread
    return total


def _of_classes(scores: Tensor, generator: np.random.Generator) -> Tensor:
    """Take scores for logits, unless they are probabilities already."""
    sums_to_one = torch.allclose(scores.sum(1), scores.new_ones(()), atol=1e-3)
    logarithms = scores.clamp_min(1e-30).log() if sums_to_one and bool((scores >= 0).all()) else scores
    likelihoods = F.log_softmax(logarithms, 1)
    gumbel = torch.from_numpy(generator.gumbel(size=tuple(scores.shape)))
    drawn = (likelihoods.detach() + gumbel).argmax(1)
    return likelihoods.gather(1, drawn[:, None]).sum()


def _sum(values: Sequence[Matrix]) -> Matrix:
    return np.asarray(np.sum(values, axis=0))
