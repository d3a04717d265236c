import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from toolchain.data.divergence import divergence, feature_weights

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


def features(count, *, along):
    """Return boxes, which are large, and scores, which are small, of many cells of a few images."""
    scales = np.array([100.0, 100.0, 0.1, 0.05])
    rows = np.random.default_rng(count).standard_normal((count, 50, 4)) * scales + [300.0, 0.0, 0.0, 0.0]
    return np.moveaxis(rows, 2, along).astype(np.float32)


@pytest.mark.parametrize("along", [1, 2])
def test_other_outputs_diverge_by_their_error_relative_to_the_variance_of_each_feature(along):
    expected = features(8, along=along)
    variance = np.moveaxis(expected, along, -1).reshape(-1, 4).astype(np.float64).var(axis=0)
    for feature in range(4):
        found = np.moveaxis(expected.copy(), along, -1)
        found[..., feature] += 0.1
        found = np.moveaxis(found, -1, along)
        wanted = 0.01 / (variance[feature] + 0.01 * np.exp(np.log(variance).mean())) / 4
        assert divergence({"y": expected}, {"y": found}) == pytest.approx(wanted, rel=1e-3)


def test_weights_of_several_batches_are_those_of_all_samples():
    whole = features(9, along=2)
    parts = feature_weights([{"y": whole[:4]}, {"y": whole[4:]}])
    np.testing.assert_allclose(parts["y"], feature_weights([{"y": whole}])["y"], rtol=1e-12)
    assert parts["y"].shape == (1, 1, 4)


@pytest.mark.parametrize("value", [np.float32(3), np.array([1.0, 2.0, 3.0], np.float32)], ids=["scalar", "row"])
def test_an_output_without_features_is_relative_to_its_variance(value):
    variance = max(1.01 * float(np.var(value)), 1e-12)
    found = divergence({"y": np.asarray(value)}, {"y": np.asarray(value) + np.float32(0.5)})
    assert found == pytest.approx(0.25 / variance, rel=1e-6)


def test_a_single_row_is_one_feature():
    row, other = np.array([[1.0, 2.0, 3.0, 6.0]]), np.array([[5.0, 5.5]])
    expected = {"boxes": row, "sizes": other}
    found = {"boxes": row + 0.5, "sizes": other + 0.5}
    wanted = (0.25 / (1.01 * row.var()) + 0.25 / (1.01 * other.var())) / 2
    assert divergence(expected, found) == pytest.approx(wanted, rel=1e-9)


def test_the_same_outputs_do_not_diverge():
    assert divergence({"y": SCORES, "z": OTHERS}, {"y": SCORES, "z": OTHERS}) == 0


def test_what_is_not_finite_is_infinitely_far():
    broken = SCORES.copy()
    broken[0, 0] = np.nan
    assert divergence({"y": SCORES}, {"y": broken}) == float("inf")
