import pytest
from oracle import assert_pruned_equals_masked, graph, reasons, sandwich, widths

from toolchain.graph.index import int_attribute

BATCH = "float[8] scale, float[8] shift, float[8] mean, float[8] variance"


@pytest.mark.parametrize("opset", [7, 9, 14, 20])
def test_batch_normalization_holds_four_parameters_per_channel(opset: int) -> None:
    model = sandwich("z = BatchNormalization(a, scale, shift, mean, variance)", declared=BATCH, opset=opset)
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 6]})
    assert {pruned.shape(name) for name in ("scale", "shift", "mean", "variance")} == {(6,)}


def test_a_batch_normalization_that_is_shared_unites_its_users() -> None:
    body = """p = BatchNormalization(a, scale, shift, mean, variance)
              q = BatchNormalization(c, scale, shift, mean, variance) z = Concat<axis=1>(p, q)"""
    model = sandwich(body, declared=BATCH, result_width=16)
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_computed_parameters_freeze() -> None:
    body = "t = Neg(shift) z = BatchNormalization(a, scale, t, mean, variance)"
    model = sandwich(body, declared=BATCH)
    assert reasons(model)["a"] == "BatchNormalization '-> z': its parameters are computed, not stored"


def test_parameters_for_every_position_freeze() -> None:
    spread = BATCH.replace("[8]", "[8,8,8]")
    model = sandwich("z = BatchNormalization<spatial=0>(a, scale, shift, mean, variance)", declared=spread, opset=7)
    assert reasons(model)["a"] == "BatchNormalization '-> z': its parameters vary along positions too"


def test_running_statistics_as_outputs_freeze() -> None:
    body = "z, m, v = BatchNormalization<training_mode=1>(a, scale, shift, mean, variance)"
    model = sandwich(body, declared=BATCH, opset=15)
    assert reasons(model)["a"] == "BatchNormalization '-> z': its running statistics are outputs"


def test_instance_normalization_acts_on_each_channel() -> None:
    model = sandwich("z = InstanceNormalization(a, scale, shift)", declared="float[8] scale, float[8] shift")
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 6]})
    assert pruned.shape("scale") == (6,)


def test_a_decomposed_group_normalization_loses_whole_groups() -> None:
    body = """g = Reshape(a, groups) n = InstanceNormalization(g, one, zero) f = Reshape(n, back)
              m = Mul(f, scale) z = Add(m, shift)"""
    declared = """int64[3] groups = {0,4,-1}, int64[4] back = {0,8,8,8}, float[4] one = {1,1,1,1},
                  float[4] zero = {0,0,0,0}, float[8,1,1] scale, float[8,1,1] shift"""
    model = sandwich(body, declared=declared)
    assert widths(model) == {"a": 4}
    pruned = assert_pruned_equals_masked(model, removed={"a": [2]})
    assert pruned.shape("scale") == (6, 1, 1)
    assert pruned.shape("one") == (3,)


@pytest.mark.parametrize(
    ("opset", "call"),
    [
        (20, "Softmax<axis=1>(a)"),
        (11, "Softmax<axis=1>(a)"),
        (11, "LogSoftmax(a)"),
        (20, "LogSoftmax<axis=-3>(a)"),
        (20, "LRN<size=3>(a)"),
        (20, "LpNormalization<axis=1>(a)"),
        (20, "MeanVarianceNormalization<axes=[1]>(a)"),
        (20, "LayerNormalization<axis=1>(a, spread)"),
        (23, "RMSNormalization<axis=1>(a, spread)"),
        (21, "GroupNormalization<num_groups=1>(a, scale, shift)"),
    ],
)
def test_statistics_across_channels_freeze_them_as_inexact(opset: int, call: str) -> None:
    declared = "float[8] scale, float[8] shift, float[8,8,8] spread"
    model = sandwich(f"z = {call}", declared=declared, opset=opset)
    op = call.split("(", maxsplit=1)[0].split("<", maxsplit=1)[0]
    assert reasons(model)["a"] == inexact(f"{op} '-> z': it takes statistics across these channels")


@pytest.mark.parametrize(("opset", "call"), [(11, "Hardmax(a)"), (20, "CumSum(a, one)")])
def test_positions_among_channels_freeze_them(opset: int, call: str) -> None:
    model = sandwich(f"z = {call}", declared="int64 one = {1}", opset=opset)
    op = call.split("(", maxsplit=1)[0]
    assert reasons(model)["a"] == f"{op} '-> z': it takes statistics across these channels"


def test_group_normalization_loses_whole_groups_with_their_parameters() -> None:
    body = "z = GroupNormalization<num_groups=4>(a, scale, shift)"
    model = sandwich(body, declared="float[8] scale, float[8] shift", opset=21)
    assert widths(model) == {"a": 4}
    pruned = assert_pruned_equals_masked(model, removed={"a": [2]})
    assert (pruned.shape("scale"), pruned.shape("shift")) == ((6,), (6,))
    assert int_attribute(pruned.node("GroupNormalization"), "num_groups", 0) == 3


def test_group_normalization_with_a_computed_scale_freezes() -> None:
    body = "t = Neg(scale) z = GroupNormalization<num_groups=4>(a, t, shift)"
    model = sandwich(body, declared="float[8] scale, float[8] shift", opset=21)
    assert reasons(model)["a"] == "GroupNormalization '-> z': its parameters are computed, not stored"


@pytest.mark.parametrize(
    ("opset", "call"),
    [
        (20, "Softmax(a)"),
        (20, "Softmax<axis=2>(a)"),
        (11, "Softmax<axis=2>(a)"),
        (20, "LpNormalization(a)"),
        (20, "LayerNormalization(a, spread)"),
        (20, "CumSum(a, three)"),
    ],
)  # fmt: skip
def test_statistics_across_positions_pass_channels(opset: int, call: str) -> None:
    declared = "float[8] spread, int64 three = {3}"
    assert_pruned_equals_masked(sandwich(f"z = {call}", declared=declared, opset=opset))


def test_mean_variance_normalization_spares_channels_by_default() -> None:
    assert widths(sandwich("z = MeanVarianceNormalization(a)")) == {"a": 8}


def test_softmax_before_opset_13_mixes_all_axes_from_its_own_on() -> None:
    assert "it takes statistics" in reasons(sandwich("z = Softmax<axis=0>(a)", opset=11))["a"]


def test_a_scale_that_reaches_into_channels_freezes_them() -> None:
    model = sandwich("z = LayerNormalization(a, scale)", declared="float[8,1,8] scale")
    assert reasons(model)["a"] == "LayerNormalization '-> z': its scale varies along these channels"


def test_layer_normalization_over_channels_last_freezes() -> None:
    model = graph(
        """net (float[N,5,6] x) => (float[N,5,3] y) <float[6,8] v, float[8] s, float[8] b, float[8,3] w> {
            a = MatMul(x, v)
            n = LayerNormalization(a, s, b)
            y = MatMul(n, w)
        }"""
    )
    assert reasons(model)["a"] == inexact("LayerNormalization '-> n': it takes statistics across these channels")


def inexact(text: str) -> str:
    return f"inexact: {text} (--allow-inexact)"
