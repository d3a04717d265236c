"""The networks of finetune.py: read beside it, prepared for training, and written back into the ONNX graph."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from finetune_data import Array, Recipe, Stop
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

DTYPES = {"BF16": torch.bfloat16, "BOOL": torch.bool, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64,
          "I16": torch.int16, "I32": torch.int32, "I64": torch.int64, "I8": torch.int8, "U8": torch.uint8}  # fmt: skip
TOLERANCE = {np.dtype(np.float16): 2e-2, np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-4}
"""What the written model may differ by, relative to the largest output."""

Place = tuple[str, int]
"""An input of a node: the node's first output, and the input's position."""


def read_network(folder: Path, name: str, weights: str) -> nn.Module:
    """Import a module of the folder and read its state from a .safetensors file, in 32 bits.

    The file: 8 bytes with the length of a header, in JSON, that has each tensor's type, shape and place; the bytes.
    """
    network: nn.Module = importlib.import_module(name).Model()
    content = bytearray((folder / weights).read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    state = {}
    for key, item in json.loads(content[8:start]).items():
        if key != "__metadata__":
            first, last = item["data_offsets"]
            values = content[start + first : start + last]
            flat = torch.frombuffer(values, dtype=DTYPES[item["dtype"]]) if values else torch.empty(0)
            state[key] = flat.reshape(item["shape"])
    network.load_state_dict(state)
    return network.float().eval()


def freeze_the_rest(network: nn.Module, recipe: Recipe) -> None:
    """Let only those parameters train that can be written back: no anchors, no means of the input."""
    trained = {item["state"] for item in recipe["sources"]} | {f"{norm}.weight" for norm in recipe["batchnorms"]}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)


def outputs_of(network: nn.Module, inputs: Sequence[Tensor], recipe: Recipe, at_once: int = 0) -> list[Tensor]:
    """Run a network; return class scores as logits [N, classes], and other floating-point outputs as they are.

    A network that takes only `at_once` samples gets them in so many pieces, the last one filled up with others.
    """
    if at_once and len(inputs[0]) != at_once:
        count = len(inputs[0])
        rows = torch.arange(-(-count // at_once) * at_once, device=inputs[0].device).remainder(count)
        parts = [outputs_of(network, [item[some] for item in inputs], recipe) for some in rows.view(-1, at_once)]
        return [torch.cat(part)[:count] for part in zip(*parts, strict=True)]
    result = network(*inputs)
    outputs = []
    for output, spec in zip(result if isinstance(result, tuple) else (result,), recipe["outputs"], strict=True):
        if spec["classes"]:
            scores = output.float().flatten(1)
            outputs.append(scores.clamp_min(1e-12).log() if spec["probabilities"] else scores)
        elif spec["floating"]:
            outputs.append(output.float())
    return outputs


def trained_outputs(recipe: Recipe) -> list[Mapping[str, Any]]:
    """Describe what `outputs_of` returns."""
    return [spec for spec in recipe["outputs"] if spec["floating"]]


@torch.no_grad()
def batch_of(network: nn.Module, inputs: Sequence[Tensor], recipe: Recipe) -> int:
    """Return how many samples a network takes at once, 0 for any number.

    A graph that states its batch may need it (a Reshape to [1, 85, -1]) or not: what is said of a sample must be what
    is said of it among others. Stop where samples cannot be told apart at all.
    """
    stated = recipe["inputs"][0]["shape"][0]
    size = stated or 1
    alone = outputs_of(network, [item[:size] for item in inputs], recipe)
    if any(part.ndim == 0 or len(part) != size for part in alone):
        raise Stop(f"the network's outputs for {size} samples are no rows of {size}: nothing can be said of each")
    try:
        together = outputs_of(network, inputs, recipe)
        agree = all(
            len(whole) == len(inputs[0])
            and torch.allclose(whole[:size], part, rtol=1e-3, atol=1e-3 * float(part.abs().max()))
            for whole, part in zip(together, alone, strict=True)
        )
    except RuntimeError:
        agree = False
    if not agree and not stated:
        raise Stop("what the network says of a sample depends on the others beside it")
    return 0 if agree else size


@torch.no_grad()
def calibrate_batchnorms(
    network: nn.Module, recipe: Recipe, batches: Iterable[Sequence[Tensor]], at_once: int = 0
) -> None:
    """Give each BatchNorm that was put behind a convolution the statistics of what it sees.

    It came with mean 0, variance 1 - e, weight 1 and bias t: it adds t. With the mean m and variance v that are
    measured, weight sqrt(v + e) and bias t + m, it still does, but while training it does nearly the same.
    """
    norms: list[Any] = [network.get_submodule(name) for name in recipe["batchnorms"]]
    sums = [torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms]

    def watch(total: Tensor) -> Any:
        def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rows = inputs[0].movedim(1, 0).flatten(1).double()
            total.add_(torch.stack((torch.ones_like(rows).sum(1), rows.sum(1), rows.square().sum(1))).cpu())

        return add

    handles = [norm.register_forward_pre_hook(watch(total)) for norm, total in zip(norms, sums, strict=True)]
    for inputs in batches:
        outputs_of(network, inputs, recipe, at_once)
    for handle in handles:
        handle.remove()
    for norm, (count, total, squares) in zip(norms, sums, strict=True):
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(norm.running_mean)


def set_training(network: nn.Module, recipe: Recipe, *, frozen_batchnorm: bool) -> None:
    """Switch to training; BatchNorm keeps its statistics where it is frozen, or they cannot be written back."""
    network.train()
    written = {item["state"] for item in recipe["sources"]}
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            moves = name in recipe["batchnorms"] or {f"{name}.running_mean", f"{name}.running_var"} <= written
            module.train(moves and not frozen_batchnorm)


@torch.no_grad()
def write_back(network: nn.Module, recipe: Recipe, source: Path, target: Path, inputs: Sequence[Tensor]) -> float:
    """Write the ONNX file with the network's weights; return the largest relative difference between the two.

    Nothing is left at `target` that differs by more than float rounding.
    """
    model = onnx.load(source)
    values = {(item["node"], item["input_index"]): _input_value(network, item) for item in recipe["sources"]}
    _set_inputs(model, values)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        onnx.save(model, temporary)
        error = _difference(network, temporary, recipe, inputs)
        if not error <= TOLERANCE[np.dtype(recipe["inputs"][0]["dtype"])]:
            raise Stop(f"{target.name} differs from the trained network by {error:.1e} of the largest output", 1)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return error


def _input_value(network: nn.Module, item: Mapping[str, Any]) -> Array:
    """Return what a node's input becomes: a layer's tensor, with the BatchNorm behind the layer folded into it.

    k = weight / sqrt(variance + e);   a convolution's weight becomes k W,   the bias   bias - k mean
    """
    value: Array = network.state_dict()[item["state"]].double().numpy()
    if item["batchnorm"]:
        norm: Any = network.get_submodule(item["batchnorm"])
        factor = (norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()).numpy()
        if item["state"] == f"{item['batchnorm']}.bias":
            return np.asarray(value - factor * norm.running_mean.double().numpy())
        shape = [1] * value.ndim
        shape[item["axis"]] = -1
        value = value * factor.reshape(shape)
    return np.asarray((value.T if item["transposed"] else value) / item["factor"])


def _set_inputs(model: onnx.ModelProto, values: Mapping[Place, Array]) -> None:
    """Overwrite initialisers; where one is read in several places that no longer agree, each gets its own."""
    initialisers = {item.name: item for item in model.graph.initializer}
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = defaultdict(list)
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name in initialisers:
                readers[name].append((node, position))
    for name, places in readers.items():
        found = [values.get((node.output[0], position)) for node, position in places]
        given = [value for value in found if value is not None]
        if len(given) == len(places) and all(np.array_equal(value, given[0]) for value in given):
            initialisers[name].CopyFrom(_tensor_like(initialisers[name], given[0], name))
            continue
        for (node, position), value in zip(places, found, strict=True):
            if value is not None:
                own = f"{name}/{node.output[0]}"
                model.graph.initializer.append(_tensor_like(initialisers[name], value, own))
                node.input[position] = own


def _tensor_like(tensor: onnx.TensorProto, value: Array, name: str) -> onnx.TensorProto:
    """Make an initialiser of the old one's type, and its shape unless that was broadcast."""
    shaped = value.reshape(list(tensor.dims)) if value.size == np.prod(tensor.dims, dtype=int) else value
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return numpy_helper.from_array(np.ascontiguousarray(shaped.astype(dtype)), name)


def _difference(network: nn.Module, path: Path, recipe: Recipe, inputs: Sequence[Tensor]) -> float:
    """Compare outputs on a few samples, through ONNX Runtime where it is installed, else onnx's own reference."""
    specs = recipe["inputs"]
    feeds = {spec["name"]: item.numpy().astype(spec["dtype"]) for spec, item in zip(specs, inputs, strict=True)}
    if importlib.util.find_spec("onnxruntime"):
        runtime: Any = importlib.import_module("onnxruntime")
        results = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)
    else:
        results = ReferenceEvaluator(str(path)).run(None, feeds)
    found = network(*inputs)
    pairs = zip(results, found if isinstance(found, tuple) else (found,), strict=True)
    return max(float(np.abs(one - two.numpy()).max() / max(np.abs(one).max(), 1e-12)) for one, two in pairs)
