"""The nine light models of the onnx wheel, which hold cases that today's exporters never make."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from oracle import analysed, assert_pruned_equals_masked

from passes.fold_constants import FoldConstants
from toolchain.graph.facts import bind_symbols, infer_facts
from toolchain.graph.index import GraphIndex
from toolchain.graph.normalise import normalise

FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
QUICK = ["light_shufflenet", "light_squeezenet"]
SLOW = [
    "light_bvlc_alexnet",
    "light_densenet121",
    "light_inception_v1",
    "light_inception_v2",
    "light_resnet50",
    "light_vgg19",
    "light_zfnet512",
]


def reweighted(name: str) -> onnx.ModelProto:
    """Replace the constants that these models have for weights by seeded random numbers of the usual scale."""
    model = normalise(onnx.load(FOLDER / f"{name}.onnx"))
    facts = infer_facts(GraphIndex(model), bind_symbols(model))
    rng = np.random.default_rng(0)
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
            continue
        shape = facts[node.output[0]].shape or ()
        scale = np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3
        values = rng.standard_normal(shape) * scale + (len(shape) == 1)
        values = np.abs(values) + 0.5 if node.output[0] in variances else values
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return FoldConstants().run(model, None).model  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_light_model_with_random_weights_pruned_at_random_equals_masked(name: str) -> None:
    model = reweighted(name)
    assert {item.name for item in model.graph.input} == {item.name for item in GraphIndex(model).inputs}
    assert_pruned_equals_masked(model, 0.3)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_light_model_is_frozen_only_where_its_meaning_says_so(name: str) -> None:
    for group in analysed(reweighted(name)).groups:
        fixed = ("graph output", "Softmax", "LRN")
        assert group.prunable or group.width == 1 or any(word in str(group.reason) for word in fixed)
