"""The reference networks by name; a network is one decorated function in a file of this folder."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

import models


@dataclass(frozen=True)
class Network:
    """A network's builder, the shape of one input (channels, height, width), and its outputs' names in ONNX."""

    name: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, int, int]
    outputs: tuple[str, ...] = ("logits",)


_NETWORKS: dict[str, Network] = {}


def network(
    *, input_shape: tuple[int, int, int], outputs: tuple[str, ...] = ("logits",)
) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Register the decorated builder under its own name."""

    def register(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        _NETWORKS[build.__name__] = Network(build.__name__, build, input_shape, outputs)
        return build

    return register


def networks() -> dict[str, Network]:
    """Return all networks of this folder, sorted by name."""
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"models.{module.name}")
    return dict(sorted(_NETWORKS.items()))
