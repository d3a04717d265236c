import pytest
from oracle import assert_pruned_equals_masked, graph, reasons, sandwich, widths

FINITE_UNARY = [
    "Abs",
    "Atan",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Mish",
    "Neg",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
]


@pytest.mark.parametrize("op", FINITE_UNARY)
def test_a_unary_op_passes_units(op: str) -> None:
    source = "b = Abs(a) z = Sqrt(b)" if op == "Sqrt" else f"z = {op}(a)"
    assert_pruned_equals_masked(sandwich(source))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum"])
def test_two_operands_lose_the_same_units(op: str) -> None:
    model = sandwich(f"z = {op}(a, c)")
    assert widths(model) == {"a": 8}
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 3, 4]})
    assert pruned.shape("a_weight") == pruned.shape("c_weight") == (5, 3, 1, 1)


def test_a_quotient_loses_the_same_units_on_both_sides() -> None:
    model = sandwich("e = Exp(c) z = Div(a, e)")
    assert_pruned_equals_masked(model)


@pytest.mark.parametrize("op", ["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"])
def test_a_comparison_and_where_unite_all_operands(op: str) -> None:
    model = sandwich(f"r = Relu(a) m = {op}(r, c) z = Where(m, a, c)")
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic_on_masks_unites_all_operands(op: str) -> None:
    body = f"m = Greater(a, zero) n = Less(c, zero) o = {op}(m, n) p = Not(o) z = Cast<to=1>(p)"
    assert_pruned_equals_masked(sandwich(body, declared="float zero = {0.1}"))


@pytest.mark.parametrize("shape", ["8,1,1", "1,8,1,1"])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "PRelu"])
def test_a_constant_along_the_channel_is_a_parameter(op: str, shape: str) -> None:
    model = sandwich(f"z = {op}(a, s)", declared=f"float[{shape}] s")
    pruned = assert_pruned_equals_masked(model, removed={"a": [1, 2, 6]})
    assert 5 in pruned.shape("s")


def test_a_constant_divisor_along_the_channel_is_a_parameter() -> None:
    pruned = assert_pruned_equals_masked(sandwich("z = Div(a, s)", declared="float[8,1,1] s"))
    assert pruned.shape("s") == (4, 1, 1)


@pytest.mark.parametrize("declared", ["float s", "float[1] s", "float[8] s", "float[1,1,8,1] s"])
def test_a_constant_without_channels_is_left_alone(declared: str) -> None:
    model = sandwich("z = Mul(a, s)", declared=declared)
    pruned = assert_pruned_equals_masked(model)
    assert widths(model) == {"a": 8}
    assert pruned.shape("s") == tuple(pruned.analysis.index.array("s").shape)


def test_constants_with_channels_and_positions_shrink_along_the_channel() -> None:
    pruned = assert_pruned_equals_masked(sandwich("z = Add(a, s)", declared="float[1,8,8,8] s"))
    assert pruned.shape("s") == (1, 4, 8, 8)


def test_limits_of_a_clip_are_not_channels() -> None:
    model = sandwich("z = Clip(a, low, high)", declared="float low = {-0.5}, float high = {0.75}")
    assert_pruned_equals_masked(model)


def test_a_mask_of_one_channel_broadcasts_and_freezes_nothing_but_itself() -> None:
    body = "m = Conv(c, one) s = Sigmoid(m) z = Mul(a, s)"
    model = sandwich(body, declared="float[1,8,1,1] one")
    assert widths(model) == {"a": 8, "c": 8}
    assert_pruned_equals_masked(model)


def test_an_unlabelled_operand_of_size_one_broadcasts() -> None:
    model = graph(
        """net (float[N,3,8,8] x, float[N,1,8,8] mask) => (float[N,2,8,8] y) <float[6,3,1,1] v, float[2,6,1,1] w> {
            a = Conv(x, v)
            z = Mul(mask, a)
            y = Conv(z, w)
        }"""
    )
    assert_pruned_equals_masked(model)


def test_an_operand_that_cannot_shrink_freezes_the_other() -> None:
    model = graph(
        """net (float[N,3,8,8] x, float[N,6,8,8] skip) => (float[N,2,8,8] y) <float[6,3,1,1] v, float[2,6,1,1] w> {
            a = Conv(x, v)
            z = Add(skip, a)
            y = Conv(z, w)
        }"""
    )
    assert reasons(model)["a"] == "Add '-> z': one operand cannot lose the channels of the other"


def test_channels_that_meet_along_different_axes_are_frozen() -> None:
    body = "q = GlobalAveragePool(a) r = Transpose<perm=[0,2,1,3]>(q) z = Mul(r, c)"
    assert reasons(sandwich(body))["a"] == ("Mul '-> z': its operands carry channels along different axes")


def test_broadcasting_of_old_opsets_is_not_understood() -> None:
    model = sandwich("z = Add<broadcast=1, axis=1>(a, s)", declared="float[8] s", opset=6)
    assert reasons(model)["a"] == "Add '-> z': before opset 7 it broadcasts by other rules"


def test_the_target_of_a_castlike_is_not_an_operand() -> None:
    model = sandwich("z = CastLike(a, like)", declared="float[2,3,4,5,6] like")
    assert_pruned_equals_masked(model)


def test_an_output_that_nobody_reads_need_not_be_known() -> None:
    model = sandwich("z, mask = Dropout(a)", opset=9)
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)
