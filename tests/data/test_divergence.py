import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from toolchain.data.divergence import divergence

RNG = np.random.default_rng(0)
SCORES, OTHERS = RNG.standard_normal((2, 6, 4))


def test_class_scores_diverge_by_their_kl_in_nats():
    expected = np.mean(entropy(softmax(SCORES, 1), softmax(OTHERS, 1), axis=1))
    assert divergence({"y": SCORES}, {"y": OTHERS}) == pytest.approx(expected, rel=1e-9)


def test_a_temperature_softens_both_and_scales_the_result():
    expected = 16 * np.mean(entropy(softmax(SCORES / 4, 1), softmax(OTHERS / 4, 1), axis=1))
    assert divergence({"y": SCORES}, {"y": OTHERS}, 4) == pytest.approx(expected, rel=1e-9)
    p, q = softmax(SCORES, 1), softmax(OTHERS, 1)
    assert divergence({"y": p}, {"y": q}, 4) == pytest.approx(expected, rel=1e-9)


def test_a_network_that_is_sure_of_its_answers_diverges_where_it_is_softened():
    sure = 30 * np.eye(4)[[0, 1, 2, 3, 0, 1]]
    there = {"y": sure}, {"y": sure + SCORES}
    assert divergence(*there, 4) > 1e4 * divergence(*there)


def test_probabilities_are_taken_as_they_are():
    p, q = softmax(SCORES, 1), softmax(OTHERS, 1)
    assert divergence({"y": p}, {"y": q}) == pytest.approx(np.mean(entropy(p, q, axis=1)), rel=1e-9)


def test_other_outputs_diverge_by_their_error_relative_to_their_variance():
    image = RNG.standard_normal((2, 3, 4, 4))
    noisy = image + 0.1
    assert divergence({"y": image}, {"y": noisy}) == pytest.approx(0.01 / image.var(), rel=1e-9)


def test_the_same_outputs_do_not_diverge():
    assert divergence({"y": SCORES, "z": OTHERS}, {"y": SCORES, "z": OTHERS}) == 0


def test_what_is_not_finite_is_infinitely_far():
    broken = SCORES.copy()
    broken[0, 0] = np.nan
    assert divergence({"y": SCORES}, {"y": broken}) == float("inf")
