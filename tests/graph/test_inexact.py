"""Groups that only a statistic over channels ties: frozen, unless inexact results are allowed.

Whether the statistic is cut right is seen on a network whose channels come in equal pairs, the second of each read by
nothing behind it: a mean over one of each pair is the mean over both, and removing all second ones changes nothing.
"""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from oracle import (
    RULES,
    Pruned,
    analysed,
    assert_pruned_equals_masked,
    assert_valid,
    execute,
    graph,
    prune,
    random_feeds,
    random_removal,
    reasons,
    sandwich,
    widths,
)
from structures import Classifier, ConvNeXt, export

from toolchain.errors import ModelError
from toolchain.graph.analysis import analyse
from toolchain.graph.facts import bind_symbols
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import Verdict, compare_with_masked, relative_error
from toolchain.graph.plan import inexact_reasons, make_plan
from toolchain.graph.surgery import apply_plan

ONE = "int64[1] one = {1}, float eps = {0.00001}"
PER_CHANNEL = "float[8] scale, float[8] shift"
SPREAD = "float[8,1,1] scale, float[8,1,1] shift"
VARIANCE = """m = ReduceMean(a, one) d = Sub(a, m) s = Mul(d, d) v = ReduceMean(s, one)"""
DIVIDED = "e = Add(v, eps) r = Sqrt(e) n = Div(d, r) g = Mul(n, scale) z = Add(g, shift)"

CASES = {
    "LayerNormalization": (
        """t = Transpose<perm=[0,2,3,1]>(a) n = LayerNormalization(t, scale, shift)
           z = Transpose<perm=[0,3,1,2]>(n)""",
        PER_CHANNEL,
        20,
    ),
    "LayerNormalization of whole samples": (
        "z = LayerNormalization<axis=1>(a, scale, shift)",
        "float[8,8,8] scale, float[8,8,8] shift",
        20,
    ),
    "RMSNormalization": (
        "t = Transpose<perm=[0,2,3,1]>(a) n = RMSNormalization(t, scale) z = Transpose<perm=[0,3,1,2]>(n)",
        PER_CHANNEL,
        23,
    ),
    "LayerNorm in single ops": (f"{VARIANCE} {DIVIDED}", f"{ONE}, {SPREAD}", 20),
    "a mean as a sum by C": (
        f"u = ReduceSum(a, one) m = Div(u, eight) d = Sub(a, m) s = Mul(d, d) v = ReduceMean(s, one) {DIVIDED}",
        f"{ONE}, {SPREAD}, float eight = {{8}}",
        20,
    ),
    "a mean as a sum times 1/C": (
        f"""{VARIANCE.replace("v = ReduceMean(s, one)", "")} u = ReduceSum(s, one) v = Mul(eighth, u) {DIVIDED}""",
        f"{ONE}, {SPREAD}, float[1,1,1,1] eighth = {{0.125}}",
        20,
    ),
    "a mean of whole samples as a sum by C x H x W": (
        "u = ReduceSum<keepdims=1>(a, all) m = Div(u, number) z = Sub(a, m)",
        "int64[3] all = {1,2,3}, float number = {512}",
        20,
    ),
    "global response normalisation": (
        """x2 = ReduceL2(a, places) m = ReduceMean(x2, one) e = Add(m, eps) n = Div(x2, e) r = Mul(a, n)
           g = Mul(r, scale) b = Add(g, shift) z = Add(b, a)""",
        f"{ONE}, {SPREAD}, int64[2] places = {{2,3}}",
        20,
    ),
    "GroupNormalization of one group": (
        "z = GroupNormalization<num_groups=1>(a, scale, shift)",
        PER_CHANNEL,
        21,
    ),
    "GroupNorm of one group in single ops": (
        """g = Reshape(a, groups) n = InstanceNormalization(g, unit, zero) s = Shape(a) f = Reshape(n, s)
           m = Mul(f, scale) z = Add(m, shift)""",
        f"{SPREAD}, int64[3] groups = {{0,1,-1}}, float[1] unit = {{1}}, float[1] zero = {{0}}",
        20,
    ),
    "MeanVarianceNormalization": ("z = MeanVarianceNormalization<axes=[1,2,3]>(a)", "", 20),
    "the largest channel": ("m = ReduceMax(a, one) z = Sub(a, m)", ONE, 20),
}


@pytest.fixture(params=CASES)
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    body, declared, opset = CASES[request.param]
    return sandwich(body, declared=declared, opset=opset)


def paired(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make the last four of eight channels copies of the first, and let the last layer read the first alone."""
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name == "y_weight":
            array[:, 4:] = 0
        elif array.shape[:1] == (8,) and array.dtype == np.float32:
            array[4:] = array[:4]
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def verdict(pruned: Pruned) -> Verdict:
    analysis = pruned.analysis
    feeds = random_feeds(analysis.model, 0, analysis.binding)
    inexact = bool(inexact_reasons(analysis, pruned.plan))
    return compare_with_masked(analysis.model, pruned.model, pruned.surgery.kept, feeds, execute, inexact=inexact)


def test_it_is_frozen_by_default_and_says_how_to_allow_it(model: onnx.ModelProto) -> None:
    reason = reasons(model)["a"]
    assert reason.startswith("inexact: ")
    assert reason.endswith(" (--allow-inexact)")


def test_where_it_is_allowed_its_width_can_be_chosen(model: onnx.ModelProto) -> None:
    group = analysed(model, allow_inexact=True).by_name["a"]
    assert (group.prunable, group.width) == (True, 8)


def test_one_of_each_pair_of_equal_channels_has_the_statistics_of_both(model: onnx.ModelProto) -> None:
    pruned = prune(paired(model), {"a": [4, 5, 6, 7]}, allow_inexact=True)
    assert_valid(pruned)
    for variant in (0, 1):
        feeds = random_feeds(model, variant, bind_symbols(model, variant=variant))
        assert relative_error(execute(pruned.model, feeds), execute(model, feeds)) < 2e-6


def test_its_verdict_is_inexact_with_a_deviation_and_never_equal(model: onnx.ModelProto) -> None:
    found = verdict(prune(model, {"a": [0, 5, 6]}, allow_inexact=True))
    assert found.inexact
    assert not found.equal
    assert not found.wrong
    assert 0 < found.relative_error < 1


def test_an_inexact_verdict_is_not_equal_however_small_its_deviation() -> None:
    assert Verdict(0.0, 1e-6, 1.0).equal
    assert not Verdict(0.0, 1e-6, 1.0, inexact=True).equal
    assert Verdict(float("inf"), 1e-6, 1.0, inexact=True).wrong


@pytest.mark.parametrize("call", ["Softmax<axis=1>(a)", "LogSoftmax<axis=1>(a)", "LRN<size=3>(a)", "ReduceSum(a, one)"])
def test_other_statistics_can_be_cut_too(call: str) -> None:
    body = f"n = {call} z = Add(a, n)"
    pruned = prune(sandwich(body, declared=ONE), {"a": [0, 5, 6]}, allow_inexact=True)
    assert_valid(pruned)
    assert verdict(pruned).inexact


def test_a_plan_that_leaves_it_alone_is_exact() -> None:
    model = graph("""net (float[N,3] x) => (float[N,2] y) <float[3,8] v, float[8,6] u, float[6,2] w> {
        a = MatMul(x, v)
        n = Softmax(a)
        b = MatMul(n, u)
        y = MatMul(b, w)
    }""")
    found = verdict(prune(model, {"b": [0, 1]}, allow_inexact=True))
    assert found.equal
    assert not found.inexact


@pytest.mark.parametrize(
    ("body", "constant", "node"),
    [
        (f"{VARIANCE.replace('v =', 'w =')} p = Mul(w, number) v = Div(p, rest) {DIVIDED}", 8, "Mul '-> p'"),
        (f"{VARIANCE.replace('v =', 'w =')} v = Div(w, rest) {DIVIDED}", 7, "Div '-> v'"),
        ("m = ReduceL2(a, one) n = Div(a, m) z = Mul(n, number)", 8**0.5, "Mul '-> z'"),
        ("n = LpNormalization<axis=1>(a) z = Mul(number, n)", 8**0.5, "Mul '-> z'"),
        ("m = ReduceSum(a, one) q = Sqrt(m) n = Div(q, number) z = Mul(a, n)", 8, "Div '-> n'"),
        ("m = ReduceSum(a, one) p = Neg(number) q = Neg(p) n = Div(m, q) z = Mul(a, n)", 8, "Div '-> n'"),
    ],
)
def test_a_constant_that_may_hold_the_number_of_channels_freezes_them(body: str, constant: float, node: str) -> None:
    model = sandwich(body, declared=f"{ONE}, {SPREAD}, float rest = {{7}}, float number = {{{constant}}}")
    found = analysed(model, allow_inexact=True).by_name["a"].reason
    assert str(found) == f"{node}: its constant {constant:.6g} may hold the number of these channels"


def test_a_sum_that_is_read_as_a_mean_and_as_a_sum_keeps_both_meanings() -> None:
    body = "u = ReduceSum(a, one) m = Div(u, number) d = Sub(a, m) n = Abs(u) z = Div(d, n)"
    model = sandwich(body, declared=f"{ONE}, float number = {{8}}")
    pruned = prune(model, {"a": [1, 2]}, allow_inexact=True)
    index = {node.output[0]: node for node in pruned.model.graph.node}
    held = next(item for item in pruned.model.graph.initializer if item.name == index["m"].input[1])
    assert numpy_helper.to_array(held) == 6.0


def test_a_reason_that_nothing_can_be_done_about_comes_first() -> None:
    model = graph("""net (float[N,3,8,8] x) => (float[N,8,8,8] y) <float[8,3,1,1] w> {
        a = Conv(x, w)
        y = Softmax<axis=1>(a)
    }""")
    assert reasons(model) == {"a": "graph output 'y': its size is part of the interface"}


def test_all_channels_of_a_statistic_cannot_go() -> None:
    model = sandwich("m = ReduceMean(a, one) z = Sub(a, m)", declared=ONE)
    with pytest.raises(ModelError, match="it needs a branch that would be removed as a whole"):
        prune(model, {"a": range(8)}, allow_inexact=True)


def test_the_groups_are_called_and_cut_alike_with_and_without_permission(model: onnx.ModelProto) -> None:
    strict, lenient = analysed(model).groups, analysed(model, allow_inexact=True).groups
    assert [(g.name, g.units.tolist()) for g in strict] == [(g.name, g.units.tolist()) for g in lenient]
    assert [g.name for g in lenient if g.prunable and g.inexact] == [
        g.name for g in strict if g.reason and g.reason.inexact
    ]


def test_a_convnext_is_prunable_throughout() -> None:
    model = normalise(export(Classifier(ConvNeXt(8), 8, 8)))
    strict = analyse(model, RULES)
    lenient = analyse(model, RULES, allow_inexact=True)
    assert any(group.reason and group.reason.inexact for group in strict.groups)
    assert [str(group.reason) for group in lenient.groups if group.reason] == [
        "graph output 'y': its size is part of the interface"
    ]
    plan = make_plan(lenient, "", random_removal(lenient, 0.4, 0))
    pruned = Pruned(lenient, plan, apply_plan(lenient, plan))
    assert_valid(pruned)
    assert verdict(pruned).inexact
    assert widths(pruned.model)


def test_the_hidden_units_of_a_mixer_over_tokens_are_prunable_while_its_channels_stay() -> None:
    text = """net (float[1,9,8] x) => (float[1,9,8] y)
        <float[8,8] v, float[8] scale, float[8] bias, float[9,16] w1, float[16,9] w2> {
        a = MatMul(x, v)
        n = LayerNormalization(a, scale, bias)
        t = Transpose<perm=[0,2,1]>(n)
        h = MatMul(t, w1)
        r = Relu(h)
        m = MatMul(r, w2)
        u = Transpose<perm=[0,2,1]>(m)
        y = Add(x, u)
    }"""
    model = graph(text)
    assert [(group.name, group.width) for group in analysed(model).prunable_groups] == [("h", 16)]
    assert_pruned_equals_masked(model, 0.5, seed=0)
