import re

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from toolchain.data.fidelity import ClassFidelity, TensorFidelity, fidelity
from toolchain.data.metric import BatchResult
from toolchain.errors import DataError, UsageError


def measure(metric, outputs, reference):
    samples = len(next(iter(outputs.values())))
    return metric.score([metric.observe(BatchResult(outputs, reference, None, samples))])


@pytest.fixture
def logits():
    generator = np.random.default_rng(0)
    original = generator.normal(size=(200, 10)).astype(np.float32) * 3
    return original, original + generator.normal(size=(200, 10)).astype(np.float32)


def test_agreement_is_of_arg_max_and_kl_is_of_softmax(logits):
    original, pruned = logits
    score = measure(ClassFidelity("y"), {"y": pruned}, {"y": original})
    assert score.value == pytest.approx(100 * np.mean(original.argmax(1) == pruned.argmax(1)))
    assert score.low < score.value < score.high
    expected = entropy(softmax(original.astype(float), axis=1), softmax(pruned.astype(float), axis=1), axis=1).mean()
    assert dict(score.extras)["kl_nats"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("head", [lambda rows: softmax(rows, axis=1), lambda rows: log_softmax(rows, axis=1)])
def test_probabilities_and_their_logarithms_give_the_same_kl_as_logits(logits, head):
    original, pruned = logits
    plain = measure(ClassFidelity("y"), {"y": pruned}, {"y": original})
    other = measure(ClassFidelity("y"), {"y": head(pruned)}, {"y": head(original)})
    assert dict(other.extras)["kl_nats"] == pytest.approx(dict(plain.extras)["kl_nats"], rel=1e-4)


def test_a_probability_of_zero_keeps_the_kl_finite():
    score = measure(ClassFidelity("y"), {"y": np.array([[0.0, 1.0]])}, {"y": np.array([[1.0, 0.0]])})
    assert score.value == 0.0
    assert dict(score.extras)["kl_nats"] == pytest.approx(-np.log(np.finfo(np.float32).tiny))


def test_nan_is_no_agreement():
    score = measure(ClassFidelity("y"), {"y": np.array([[np.nan, 1.0]])}, {"y": np.array([[1.0, 0.0]])})
    assert (score.value, score.extras) == (0.0, (("kl_nats", np.inf),))


def test_an_original_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="the original model's output 'y' is not finite; check --preprocess"):
        measure(ClassFidelity("y"), {"y": np.ones((1, 2))}, {"y": np.array([[np.nan, 0.0]])})


def test_other_outputs_are_held_by_their_error_over_their_spread_each_output_alike():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(50, 3, 4, 4)), 1e6 * generator.normal(size=(50, 7))
    score = measure(TensorFidelity(("a", "b")), {"a": 1.1 * a, "b": 1.3 * b}, {"a": a, "b": b})
    assert score.value == pytest.approx(80.0, abs=0.5)
    assert score.high - score.low < 3


def test_a_detectors_boxes_do_not_outweigh_its_scores():
    """One error over the whole tensor let a detector lose all its scores at a fidelity of 99.9 %."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(20, 30, 12)) * [100, 100, 50, 50, *[0.3] * 8] + [200, 200, *[0] * 10]
    found = rows.copy()
    found[..., 4:] = 0
    score = measure(TensorFidelity(("y",)), {"y": found}, {"y": rows})
    assert score.value == pytest.approx(100 * (1 - (8 / 12) ** 0.5), abs=15)
    constant = np.broadcast_to(rows.mean(axis=(0, 1)), rows.shape)
    assert measure(TensorFidelity(("y",)), {"y": constant}, {"y": rows}).value == pytest.approx(0, abs=15)


def test_batches_are_judged_by_the_spread_of_all_of_them():
    rows = np.concatenate([np.zeros((4, 3, 9)), np.ones((4, 3, 9))])
    metric = TensorFidelity(("y",))
    halves = [BatchResult({"y": half + 0.1}, {"y": half}, None, 4) for half in np.split(rows, 2)]
    whole = measure(metric, {"y": rows + 0.1}, {"y": rows})
    assert metric.score([metric.observe(half) for half in halves]).value == pytest.approx(whole.value)
    assert whole.value == pytest.approx(80, abs=0.2)


def test_rounding_of_an_output_that_never_moves_is_no_error():
    fives = np.full((4, 3, 9), 5, np.float32)
    score = measure(TensorFidelity(("y",)), {"y": fives * np.float32(1 + 2e-7)}, {"y": fives})
    assert score.value > 99.5


def test_one_value_a_sample_is_compared():
    rows = np.arange(20.0)
    assert measure(TensorFidelity(("y",)), {"y": rows}, {"y": rows}).value == 100


def test_an_original_of_zeros_is_kept_or_lost():
    zeros = np.zeros((2, 3))
    outputs = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert measure(TensorFidelity(("a",)), {"a": outputs}, {"a": zeros}).value == 50.0


def test_an_output_that_is_not_finite_loses_everything():
    score = measure(TensorFidelity(("a",)), {"a": np.full((2, 3), np.nan)}, {"a": np.ones((2, 3))})
    assert (score.value, score.low) == (-np.inf, None)


def test_outputs_whose_size_depends_on_the_data_are_refused():
    metric = TensorFidelity(("boxes",))
    message = "output 'boxes' is [3, 4], the original's [5, 4]; its size depends on the data: use --metric FILE.py"
    with pytest.raises(DataError, match=re.escape(message)):
        measure(metric, {"boxes": np.ones((3, 4))}, {"boxes": np.ones((5, 4))})
    boxes = {"boxes": np.ones((3, 4))}
    with pytest.raises(DataError, match=re.escape("output 'boxes' [3, 4] has no batch axis of 2")):
        metric.observe(BatchResult(boxes, boxes, None, 2))


def test_the_models_outputs_choose_what_is_compared(classifier, make_interface):
    assert fidelity(classifier) == ClassFidelity("logits")
    detector = make_interface("float[N,3,8,8] x", "float[N,9,85] boxes, int64[N,9] kinds, float[N,1] count")
    assert fidelity(detector) == TensorFidelity(("boxes", "count"))
    with pytest.raises(UsageError, match="fidelity needs a floating-point output; use --metric"):
        fidelity(make_interface("float[N,3,8,8] x", "int64[N,9] kinds"))
