"""The oracle must notice what surgery could get wrong: each mutation is caught."""

import numpy as np
import pytest
from onnx import numpy_helper
from oracle import RULES, Pruned, execute, prune, random_feeds, sandwich

from passes.rules.elementwise import Elementwise
from toolchain.graph import oracle as mask
from toolchain.graph.analysis import analyse
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import Verdict, compare_with_masked, masked_model, relative_error
from toolchain.graph.plan import make_plan
from toolchain.graph.surgery import apply_plan

BATCH = "float[8] scale, float[8] shift, float[8] mean, float[8] variance"


def verdict(pruned: Pruned) -> Verdict:
    original = pruned.analysis.model
    feeds = random_feeds(original, 0, pruned.analysis.binding)
    return compare_with_masked(original, pruned.model, pruned.surgery.kept, feeds, execute)


def replace(pruned: Pruned, name: str, values: np.ndarray) -> None:  # type: ignore[type-arg]
    for item in pruned.model.graph.initializer:
        if item.name == name:
            item.CopyFrom(numpy_helper.from_array(values, name))


def test_right_surgery_is_equal_and_the_check_has_power() -> None:
    found = verdict(prune(sandwich("z = Sigmoid(a)")))
    assert found.equal
    assert found.powered
    assert found.tolerance >= mask.TIGHTEST


def test_softmax_taken_for_a_pointwise_op_is_caught() -> None:
    model = normalise(sandwich("z = Softmax<axis=1>(a)"))
    analysis = analyse(model, {**RULES, "Softmax": Elementwise()})
    plan = make_plan(analysis, "", {"a": [0, 1, 2]})
    assert not verdict(Pruned(analysis, plan, apply_plan(analysis, plan))).equal


def test_parts_of_a_concat_in_the_wrong_order_are_caught() -> None:
    pruned = prune(sandwich("z = Concat<axis=1>(a, c)", result_width=16))
    node = pruned.node("Concat")
    first, second = node.input
    node.input[:] = [second, first]
    assert not verdict(pruned).equal


def test_a_grouped_convolution_that_keeps_other_channels_is_caught() -> None:
    model = sandwich("z = Conv<group=2>(a, w)", declared="float[8,4,1,1] w")
    pruned = prune(model, {"a": [0, 1], "z": [3]})
    next(n for n in pruned.model.graph.node if n.output[0] == "z").attribute[0].i = 1
    widened = np.concatenate([numpy_helper.to_array(w) for w in pruned.model.graph.initializer if w.name == "w"] * 2, 1)
    replace(pruned, "w", widened)
    assert not verdict(pruned).equal


def test_a_batch_normalization_whose_site_was_forgotten_is_caught() -> None:
    body = "z = BatchNormalization(a, scale, shift, mean, variance)"
    pruned = prune(sandwich(body, declared=BATCH), {"a": [0, 3]})
    whole = {item.name: numpy_helper.to_array(item) for item in pruned.analysis.model.graph.initializer}
    replace(pruned, "scale", whole["scale"][:6])
    assert not verdict(pruned).equal


def test_a_network_whose_output_ignores_the_units_has_no_power() -> None:
    model = sandwich("n = Mul(a, zero) z = Relu(n)", declared="float zero = {0}")
    found = verdict(prune(model))
    assert found.equal
    assert not found.powered


def test_masking_zeroes_what_was_removed_and_spares_divisors() -> None:
    pruned = prune(sandwich("z = Div(a, s)", declared="float[8,1,1] s"), {"a": [0, 3]})
    masked = masked_model(pruned.analysis.model, pruned.surgery.kept)
    arrays = {item.name: numpy_helper.to_array(item) for item in masked.graph.initializer}
    assert not arrays["a_weight"][[0, 3]].any()
    assert not arrays["y_weight"][:, [0, 3]].any()
    assert arrays["s"].all()


@pytest.mark.parametrize(
    ("value", "expected"),
    [([1.0, 2.0], 0.0), ([1.0, 3.0], 0.5), ([1.0], float("inf")), ([1.0, np.nan], float("inf"))],
)
def test_errors_are_relative_to_the_largest_value(value: list[float], expected: float) -> None:
    assert relative_error({"y": np.array(value)}, {"y": np.array([1.0, 2.0])}) == expected


def test_empty_outputs_are_equal() -> None:
    assert relative_error({"y": np.zeros((0, 4))}, {"y": np.zeros((0, 4))}) == 0.0
