"""Width 0: a group that loses all units takes its branch with it."""

import numpy as np
import pytest
from oracle import analysed, assert_pruned_equals_masked, graph

from toolchain.errors import ModelError
from toolchain.graph.plan import make_plan
from toolchain.graph.removable import removable_branches
from toolchain.graph.surgery import apply_plan

RESIDUAL = """
    t (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
    <float[6, 3, 3, 3] w0, float[5, 6, 3, 3] w1, float[5] b1, float[7, 5, 3, 3] w2, float[7] b2,
     float[6, 7, 3, 3] w3, float[6] b3, float[4, 6, 1, 1] w4>
    {
        stem = Conv <pads = [1, 1, 1, 1]> (x, w0)
        a = Conv <pads = [1, 1, 1, 1]> (stem, w1, b1)
        ra = Relu (a)
        b = Conv <pads = [1, 1, 1, 1]> (ra, w2, b2)
        rb = Sigmoid (b)
        c = Conv <pads = [1, 1, 1, 1]> (rb, w3, b3)
        rc = Relu (c)
        sum = Add (rc, stem)
        y = Conv (sum, w4)
    }
"""

CONCAT = """
    t (float[N, 3, 8, 8] x) => (float[N, 2, 8, 8] y)
    <float[4, 3, 1, 1] w0, float[5, 3, 1, 1] w1, float[2, 9, 3, 3] w2>
    {
        left = Conv (x, w0)
        right = Conv (x, w1)
        rl = Relu (left)
        both = Concat <axis = 1> (rl, right)
        y = Conv <pads = [1, 1, 1, 1]> (both, w2)
    }
"""

BLOCK_OF_ARMS = """
    t (float[N, 3, 8, 8] x) => (float[N, 2, 8, 8] y)
    <float[6, 3, 1, 1] w0, float[4, 6, 1, 1] w1, float[5, 6, 1, 1] w2, float[7, 9, 3, 3] w3, float[6, 7, 1, 1] w4,
     float[2, 6, 1, 1] w5>
    {
        stem = Conv (x, w0)
        left = Conv (stem, w1)
        right = Conv (stem, w2)
        both = Concat <axis = 1> (left, right)
        c = Conv <pads = [1, 1, 1, 1]> (both, w3)
        d = Conv (c, w4)
        sum = Add (stem, d)
        y = Conv (sum, w5)
    }
"""

PLAIN = """
    t (float[N, 3, 8, 8] x) => (float[N, 2, 8, 8] y)
    <float[4, 3, 1, 1] w0, float[2, 4, 3, 3] w1>
    {
        a = Conv (x, w0)
        y = Conv <pads = [1, 1, 1, 1]> (a, w1)
    }
"""


def ops(model):
    return [node.op_type for node in model.graph.node]


def test_a_residual_branch_goes_and_leaves_its_last_bias_behind():
    pruned = assert_pruned_equals_masked(graph(RESIDUAL), 0, 0, removed={"b": range(7), "a": range(5)})
    assert ops(pruned.model) == ["Conv", "Add", "Conv"]


def test_what_feeds_only_a_removed_group_goes_too():
    pruned = assert_pruned_equals_masked(graph(RESIDUAL), 0, 0, removed={"b": range(7)})
    assert ops(pruned.model) == ["Conv", "Add", "Conv"]
    assert not {"w1", "w2", "w3"} & {item.name for item in pruned.model.graph.initializer}


def test_a_group_whose_absence_the_next_convolution_would_see_at_its_border_stays():
    analysis = analysed(graph(RESIDUAL))
    with pytest.raises(ModelError, match=r"Conv .*it needs a branch that would be removed as a whole"):
        apply_plan(analysis, make_plan(analysis, "", {"a": range(5)}))


def test_an_arm_of_a_concat_goes():
    pruned = assert_pruned_equals_masked(graph(CONCAT), 0, 0, removed={"left": range(4), "right": [1]})
    assert ops(pruned.model) == ["Conv", "Concat", "Conv"]
    assert list(pruned.model.graph.node[1].input) == ["right"]


def test_both_arms_of_a_concat_cannot_go():
    analysis = analysed(graph(CONCAT))
    with pytest.raises(ModelError):
        apply_plan(analysis, make_plan(analysis, "", {"left": range(4), "right": range(5)}))


def test_the_only_path_to_an_output_cannot_go():
    analysis = analysed(graph(PLAIN))
    assert removable_branches(analysis) == {}


def test_removable_branches_name_what_goes_with_them():
    assert removable_branches(analysed(graph(RESIDUAL))) == {"b": ("b", "a")}


def test_removable_branches_can_all_go_together():
    """A search took both arms of a Concat, each of which could go, and ended in an error."""
    assert removable_branches(analysed(graph(CONCAT))) == {"left": ("left",)}


def test_arms_of_a_block_that_goes_as_a_whole_cannot_all_go_without_it():
    branches = removable_branches(analysed(graph(BLOCK_OF_ARMS)))
    assert branches == {"left": ("left",), "c": ("c", "left", "right")}


def test_a_batchnorm_after_the_branch_becomes_part_of_the_constant():
    text = RESIDUAL.replace("rc = Relu (c)", "rc = BatchNormalization (c, s, t, m, v)").replace(
        "float[6] b3,", "float[6] b3, float[6] s, float[6] t, float[6] m, float[6] v,"
    )
    model = graph(text)
    for tensor in model.graph.initializer:
        if tensor.name == "v":
            tensor.raw_data = np.linspace(0.5, 2, 6, dtype=np.float32).tobytes()
    pruned = assert_pruned_equals_masked(model, 0, 0, removed={"b": range(7)})
    assert ops(pruned.model) == ["Conv", "Add", "Conv"]
