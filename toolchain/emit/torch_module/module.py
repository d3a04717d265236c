"""`model.py` and `weights.safetensors`: the text of the module and the state it loads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from toolchain.emit.torch_module.blocks import block_tree
from toolchain.emit.torch_module.classes import BlockClass, write_classes
from toolchain.emit.torch_module.constants import torch_dtype
from toolchain.emit.torch_module.drafts import shape_text, write_draft
from toolchain.emit.torch_module.emitter import Emitter
from toolchain.emit.torch_module.layout import INDENT, fits, laid_out
from toolchain.emit.torch_module.sizes import Sizes
from toolchain.emit.torch_module.sources import Source, state_sources
from toolchain.emit.torch_module.statement import write_program
from toolchain.graph.facts import Array
from toolchain.graph.index import GraphIndex

LISTED_PATHS = 3

LOAD = '''

def load(weights: Path = WEIGHTS) -> Model:
    """Return the network with its weights, in evaluation mode."""
    from safetensors.torch import load_file

    model = Model()@dtype@
    model.load_state_dict(load_file(weights))
    return model.eval()
'''


@dataclass(frozen=True, eq=False)
class TorchModule:
    """The source of a Python module whose `load()` returns the network, its state by name, and where that is from."""

    source: str
    weights: Mapping[str, Array]
    sources: tuple[Source, ...]


def write_torch_module(
    model: onnx.ModelProto,
    emitters: Mapping[str, Emitter],
    *,
    batchnorm: bool = True,
    weights_name: str = "weights.safetensors",
) -> TorchModule:
    """Write a normalised model as PyTorch.

    With `batchnorm`, a convolution whose bias no BatchNorm follows gets one that leaves the function as it is.
    `weights_name` is the file beside the module that `load()` reads.

    Raises ModelError for an op without an emitter, and for what PyTorch cannot say.
    """
    index = GraphIndex(model)
    sizes = Sizes.of(index)
    draft = write_draft(block_tree(write_program(index, sizes, emitters, batchnorm=batchnorm)), index, sizes)
    classes = write_classes(draft)
    body = "".join(f"\n\n{_class_text(item)}" for item in classes)
    weights = {name: np.ascontiguousarray(value) for name, value in draft.weights()}
    body += LOAD.replace("@dtype@", _conversion(weights))
    source = f"{_head(index, sizes, weights_name, body)}{body}"
    return TorchModule(source, weights, tuple(state_sources(draft, index)))


def _conversion(weights: Mapping[str, Array]) -> str:
    """Bring PyTorch's layers, which start in 32 bits, to the type of the weights."""
    types = {onnx.helper.np_dtype_to_tensor_dtype(value.dtype) for value in weights.values() if value.dtype.kind == "f"}
    names = sorted(torch_dtype(item) for item in types)
    return f".to({names[0]})" if len(names) == 1 and names[0] != "torch.float32" else ""


def _head(index: GraphIndex, sizes: Sizes, weights_name: str, body: str) -> str:
    interface = [f"{item.name} {shape_text(sizes, item.name)}".rstrip() for item in index.inputs]
    results = [f"-> {item.name} {shape_text(sizes, item.name)}".rstrip() for item in index.outputs]
    text = "\n".join(re.sub(r'[^\x20-\x7e]|[\\"]', "_", line) for line in (*interface, *results))
    lines = ['"""A network, written from its ONNX graph.', "", text, '"""', "", "from pathlib import Path", ""]
    if re.search(r"\btorch\.", body):
        lines.append("import torch")
    lines.append("from torch import Tensor, nn")
    if re.search(r"\bF\.", body):
        lines.append("from torch.nn import functional as F")
    return "\n".join([*lines, "", f'WEIGHTS = Path(__file__).with_name("{weights_name}")']) + "\n"


def _class_text(item: BlockClass) -> str:
    lines = [f"class {item.name}(nn.Module):", *laid_out(f'"""{_summary(item)}"""', 1), ""]
    if item.attributes:
        declared = ", ".join(["self", *(f"{name}: int" for name in item.parameters)])
        lines += [*_definition(f"def __init__({declared})", "None"), "        super().__init__()"]
        for attribute in item.attributes:
            lines += laid_out(_assignment(attribute.name, str(attribute.call), attribute.is_buffer), 2)
        lines.append("")
    declared = ", ".join(["self", *(f"{name}: Tensor" for name in item.arguments)])
    lines += _definition(f"def forward({declared})", "tuple[Tensor, ...]" if item.result_count > 1 else "Tensor")
    for line in item.lines:
        lines += laid_out(line.code, 2, line.comment)
    return "\n".join(lines) + "\n"


def _definition(head: str, result: str) -> list[str]:
    """Break a long signature at its own brackets, not at those of what it returns."""
    whole = f"{head} -> {result}:"
    if fits(whole, 1):
        return [f"{INDENT}{whole}"]
    name, _, arguments = head.removesuffix(")").partition("(")
    inner = laid_out(arguments, 2) if fits(arguments, 2) else [f"{INDENT * 2}{item}," for item in arguments.split(", ")]
    return [f"{INDENT}{name}(", *inner, f"{INDENT}) -> {result}:"]


def _assignment(name: str, call: str, is_buffer: bool) -> str:
    return f'self.register_buffer("{name}", {call})' if is_buffer else f"self.{name} = {call}"


def _summary(item: BlockClass) -> str:
    if item.paths == ("",):
        return "The network."
    shown, more = item.paths[:LISTED_PATHS], len(item.paths) - LISTED_PATHS
    text = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return re.sub(r"[^\w., -]", "_", text) + "."
