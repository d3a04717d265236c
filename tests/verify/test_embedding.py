"""The mask oracle for repaired weights: it finds a wrong structure whatever the values are."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from oracle import execute, prune
from small import feeds_of, network

from toolchain.verify.embedding import compare_shipped, embedded


@pytest.fixture(scope="module")
def pruned():
    return prune(network(batch="N"))


def repaired(model, scale=1.3):
    """Change every weight, as a repair does."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        value = numpy_helper.to_array(tensor) * np.float32(scale)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return result


def compare(pruned, shipped, kept=None):
    source = pruned.analysis.model
    return compare_shipped(source, shipped, kept or pruned.surgery.kept, feeds_of(source), execute)


def test_untouched_weights_embed_into_the_source_itself(pruned):
    assert embedded(pruned.analysis.model, pruned.model, pruned.surgery.kept) == pruned.analysis.model


@pytest.mark.parametrize("scale", [1.0, 1.3, -0.5])
def test_a_model_with_any_weights_equals_the_masked_source_that_holds_them(pruned, scale):
    verdict = compare(pruned, repaired(pruned.model, scale))
    assert verdict.relative_error <= 1e-5
    assert verdict.equal
    assert verdict.powered


def test_positions_that_belong_to_other_channels_are_found(pruned):
    axes = pruned.surgery.kept["body_weight"]
    wrong = {**pruned.surgery.kept, "body_weight": {**axes, 1: (axes[1] + 1) % 32}}
    assert not compare(pruned, repaired(pruned.model), wrong).equal


def test_a_graph_that_was_changed_is_found(pruned):
    shipped = repaired(pruned.model)
    next(node for node in shipped.graph.node if node.op_type == "Relu").op_type = "Sigmoid"
    assert not compare(pruned, shipped).equal


def test_a_parameter_of_another_type_or_shape_is_left_out(pruned):
    shipped = repaired(pruned.model)
    (tensor,) = [item for item in shipped.graph.initializer if item.name == "head_bias"]
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), "head_bias"))
    found = embedded(pruned.analysis.model, shipped, pruned.surgery.kept)
    assert next(item for item in found.graph.initializer if item.name == "head_bias").dims == [4]
