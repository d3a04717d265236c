"""What tests of the emitted PyTorch module share: write it, import it, hold it to ONNX Runtime."""

import importlib.util
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import torch
from oracle import random_feeds
from safetensors.numpy import save_file

from toolchain.emit.torch_module.emitter import Emitter, emitter_table
from toolchain.emit.torch_module.module import TorchModule, write_torch_module
from toolchain.graph.facts import bind_symbols
from toolchain.graph.index import GraphIndex
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import Feeds
from toolchain.registry import scan
from toolchain.targets.onnxruntime import ReferenceSession

EMITTERS = emitter_table(scan("passes.emitters", Emitter))
TOLERANCE = 1e-4


def emitted(model: onnx.ModelProto, *, batchnorm: bool = True) -> TorchModule:
    """Write a model as PyTorch."""
    return write_torch_module(normalise(model), EMITTERS, batchnorm=batchnorm)


def imported(written: TorchModule, folder: Path) -> ModuleType:
    """Save a module with its weights and import it."""
    (folder / "model.py").write_text(written.source)
    save_file(dict(written.weights), folder / "weights.safetensors")
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(network: torch.nn.Module, feeds: Feeds) -> list[np.ndarray]:
    """Run a network on the values of its inputs, in order."""
    with torch.no_grad():
        result = network(*(torch.from_numpy(np.asarray(value)) for value in feeds.values()))
    return [item.numpy() for item in (result if isinstance(result, tuple) else (result,))]


def assert_equal(model: onnx.ModelProto, network: torch.nn.Module, feeds: Feeds) -> None:
    """Hold every output to ONNX Runtime's, relative to the largest value."""
    expected = ReferenceSession(model).run(feeds)
    for (name, value), found in zip(expected.items(), run(network, feeds), strict=True):
        assert (found.shape, found.dtype) == (value.shape, value.dtype), name
        np.testing.assert_allclose(found, value, rtol=0, atol=TOLERANCE * _scale(value), err_msg=name)


def assert_emitted_equals(
    model: onnx.ModelProto, *, batchnorm: bool = True, feeds: Mapping[str, np.ndarray] | None = None
) -> str:
    """Write, import, and compare at two sizes where sizes are symbolic; return the source."""
    written = emitted(model, batchnorm=batchnorm)
    inputs = {item.name for item in GraphIndex(model).inputs}
    with tempfile.TemporaryDirectory() as folder:
        network = imported(written, Path(folder)).load()
        for variant in (0, 1):
            drawn = random_feeds(model, variant, bind_symbols(model, variant=variant))
            assert_equal(model, network, {**drawn, **(feeds or {})})
    assert inputs
    return written.source


def assert_well_formatted(source: str) -> None:
    """Hold a source to ruff's default rules and layout."""
    for arguments in (["check"], ["format", "--diff"]):
        command = ["ruff", *arguments, "--isolated", "--quiet", "--stdin-filename", "model.py", "-"]
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def _scale(value: np.ndarray) -> float:
    return max(float(np.abs(value).max(initial=0)), 1e-3) if value.dtype.kind == "f" else 0.0
