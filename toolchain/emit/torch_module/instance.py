"""The emitted module at work in this process: for gradients."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from torch import nn

from toolchain.emit.torch_module.module import TorchModule


def instantiate(written: TorchModule) -> nn.Module:
    """Return the network with its weights, in evaluation mode, its parameters constant."""
    module = ModuleType("model")
    module.__file__ = "model.py"
    exec(compile(written.source, "model.py", "exec"), module.__dict__)
    network: nn.Module = module.Model()
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in written.weights.items()})
    return network.eval().requires_grad_(False)
