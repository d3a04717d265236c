"""Print how long normalising and analysing takes: `PYTHONPATH=.:tests python tests/bench/analysis_speed.py`."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from oracle import analysed

from models import registry
from models.export import export

RESIDUAL_BLOCKS, WIDTH = 100, 64


def residual_chain(blocks: int = RESIDUAL_BLOCKS, width: int = WIDTH) -> onnx.ModelProto:
    """Make a network of five nodes a block: convolution, activation, convolution, sum, activation."""
    rng = np.random.default_rng(0)
    nodes, weights, source = [], [], "x"
    for block in range(blocks):
        for half in (1, 2):
            weight = rng.standard_normal((width, width, 3, 3)).astype(np.float32) / width
            weights.append(numpy_helper.from_array(weight, f"w{block}.{half}"))
        steps = [
            ("Conv", [source, f"w{block}.1"], "a", {"pads": [1] * 4}),
            ("Relu", [f"a{block}"], "b", {}),
            ("Conv", [f"b{block}", f"w{block}.2"], "c", {"pads": [1] * 4}),
            ("Add", [f"c{block}", source], "d", {}),
            ("Relu", [f"d{block}"], "e", {}),
        ]
        nodes += [
            helper.make_node(op, inputs, [f"{name}{block}"], name=f"{name}{block}", **attributes)
            for op, inputs, name, attributes in steps
        ]
        source = f"e{block}"
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", width, 32, 32]) for n in ("x", source)]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def cases() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield what is timed."""
    yield f"chain of {5 * RESIDUAL_BLOCKS} nodes", residual_chain()
    network = registry.networks()["resnet50"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        export(network.build(), torch.zeros(1, *network.input_shape), path)
        yield "ResNet-50", onnx.load(path)


def main() -> None:
    """Time each case once; nothing is cached between them."""
    for name, model in cases():
        start = time.perf_counter()
        groups = analysed(model).groups
        print(f"{name}: {time.perf_counter() - start:.2f} s, {len(groups)} groups")


if __name__ == "__main__":
    main()
