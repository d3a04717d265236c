"""Why a layer is not faster, for every reason there is."""

from oracle import analysed, graph, prune
from small import network

from toolchain.emit.layers import layer_figures
from toolchain.targets.contract import Alignment


class CutOf:
    """What `layer_figures` reads of a pruning."""

    def __init__(self, pruned):
        self.source, self.plan, self.kept = pruned.analysis.model, pruned.plan, pruned.surgery.kept


def figures(model, removed, preferred=8):
    pruned = prune(model, removed)
    alignment = Alignment(preferred=preferred, least=4)
    found = layer_figures(pruned.analysis, CutOf(pruned), pruned.model, alignment)
    return {item.name: item for item in found}


def test_widths_of_outputs_and_inputs_are_those_of_the_weights():
    layers = figures(network(), {"stem": range(16), "body": range(8)})
    assert {
        name: (item.outputs_before, item.outputs_after, item.inputs_before, item.inputs_after)
        for name, item in layers.items()
    } == {"stem": (32, 16, 0, 0), "body": (32, 24, 32, 16), "scores": (4, 4, 32, 24)}
    assert [item.op_type for item in layers.values()] == ["Conv", "Conv", "Gemm"]


def test_a_layer_that_is_as_narrow_as_it_can_be_has_no_excuse():
    assert figures(network(), {"stem": range(16), "body": range(8)})["body"].notes == ()


def test_a_width_between_the_targets_steps_is_named():
    layers = figures(network(), {"stem": range(12)}, preferred=16)
    assert layers["stem"].notes == (
        "20 outputs are no multiple of 16, which this target prefers: they may take as long as 32",
    )


def test_what_the_search_left_and_what_is_frozen_are_told_apart():
    layers = figures(network(), {"stem": range(16)})
    assert layers["body"].notes == ("the search left body as wide as it was",)
    assert layers["scores"].notes == (
        "frozen by graph output 'scores': its size is part of the interface",
        "reads all 32 inputs: the search left body as wide as it was",
    )


def test_a_layer_that_goes_with_its_branch_says_so():
    model = graph(
        """net (float[1,3,8,8] x) => (float[1,5,8,8] y) <
            float[8,3,1,1] a_weight, float[8,8,1,1] b_weight, float[8,8,1,1] c_weight, float[5,8,1,1] y_weight
        > {
            a = Conv(x, a_weight)
            b = Conv(a, b_weight)
            r = Relu(b)
            c = Conv(r, c_weight)
            s = Add(a, c)
            y = Conv(s, y_weight)
        }"""
    )
    assert analysed(model).by_name["b"].width == 8
    layers = figures(model, {"b": range(8)})
    assert layers["c"].notes == layers["b"].notes == ("gone with its branch",)
    assert layers["b"].outputs_after == 0
