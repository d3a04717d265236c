"""A rule that is deliberately wrong must not get past the oracle: four mutations of right rules."""

from collections.abc import Mapping

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException
from oracle import RULES, execute, random_feeds, sandwich

from passes.rules.convolution import Convolution
from passes.rules.elementwise import Elementwise
from passes.rules.joining import Concat
from passes.rules.normalisation import PerChannelNormalisation
from toolchain.errors import ModelError
from toolchain.graph.analysis import analyse
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import compare_with_masked
from toolchain.graph.plan import make_plan
from toolchain.graph.rule import Editor, NodeView, Rule
from toolchain.graph.surgery import apply_plan


class BackwardConcat(Concat):
    """Labels its parts in reverse order."""

    def label(self, view: NodeView) -> None:
        parts = [np.broadcast_to(view.input_labels(i).reshape(-1), (view.input_shape(i)[1],)) for i in (1, 0)]
        view.assign(np.concatenate(parts).reshape(1, -1, 1, 1))


class StaleGroupCount(Convolution):
    """Leaves the group count as it was."""

    def refresh(self, view: NodeView, editor: Editor) -> None:
        pass


class ForgetfulNormalisation(PerChannelNormalisation):
    """Records no site of scale, bias and statistics."""

    def label(self, view: NodeView) -> None:
        view.assign(view.input_labels(0))


BATCH = "float[8] scale, float[8] shift, float[8] mean, float[8] variance"
CASES = {
    "Softmax as pointwise": ("z = Softmax<axis=1>(a)", "", 8, {"Softmax": Elementwise()}),
    "Concat offsets swapped": ("z = Concat<axis=1>(a, c)", "", 16, {"Concat": BackwardConcat()}),
    "group count not updated": ("z = Conv<group=8>(a, w)", "float[8,1,1,1] w", 8, {"Conv": StaleGroupCount()}),
    "BatchNorm site forgotten": (
        "z = BatchNormalization(a, scale, shift, mean, variance)",
        BATCH,
        8,
        {"BatchNormalization": ForgetfulNormalisation()},
    ),
}


def survives(body: str, declared: str, width: int, rules: Mapping[str, Rule]) -> bool:
    """Prune three channels by these rules and tell whether all checks that surgery and oracle make are passed."""
    model = normalise(sandwich(body, declared=declared, result_width=width))
    analysis = analyse(model, rules)
    plan = make_plan(analysis, "", {"a": [0, 1, 2]})
    try:
        surgery = apply_plan(analysis, plan)
        feeds = random_feeds(model, 0, analysis.binding)
        return compare_with_masked(model, surgery.model, surgery.kept, feeds, execute).equal
    except (ModelError, Fail, InvalidArgument, RuntimeException):
        return False


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_rule_is_caught_where_the_right_one_passes(name: str) -> None:
    body, declared, width, mutation = CASES[name]
    assert not survives(body, declared, width, {**RULES, **mutation})
    if name != "Softmax as pointwise":  # whose right rule removes nothing
        assert survives(body, declared, width, RULES)
