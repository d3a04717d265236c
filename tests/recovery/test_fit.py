import numpy as np
import pytest

from toolchain.recovery.fit import fit_layer
from toolchain.recovery.moments import MomentSums

RNG_SEED = 4


def moments_of(x, y):
    sums = MomentSums(1, x.shape[1], y.shape[1])
    sums.add(x[None], y[None])
    return sums.moments()


def world(positions, unknowns=12, outputs=5, noise=0.0, seed=RNG_SEED):
    """Return columns, and targets made by a weight and a bias; what is fitted shall find these."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.standard_normal((unknowns, outputs)), rng.standard_normal(outputs)
    x = rng.standard_normal((2 * positions, unknowns)) + rng.standard_normal(unknowns)
    y = x @ weight + bias + noise * rng.standard_normal((2 * positions, outputs))
    return x, y, weight, bias


def fit(x, y, start, start_bias, **options):
    half = len(x) // 2
    free_bias = options.get("free_bias", True)
    parts = moments_of(x[:half], y[:half]), moments_of(x[half:], y[half:])
    return fit_layer(*parts, start[None], start_bias[None], free_bias=free_bias)


def test_the_weight_and_bias_behind_the_targets_are_found():
    x, y, weight, bias = world(2000)
    found = fit(x, y, np.zeros_like(weight), np.zeros_like(bias))
    np.testing.assert_allclose(found.weight[0], weight, atol=2e-4 * np.abs(weight).max())
    np.testing.assert_allclose(found.bias[0], bias, atol=1e-3)
    assert found.after < 1e-6 * found.before


def test_what_is_right_already_is_kept():
    x, y, weight, bias = world(50, noise=0.5)
    found = fit(x, y, weight, bias)
    assert found.after <= found.before
    strayed = np.linalg.norm(found.weight[0] - weight)
    assert strayed < 0.5 * np.linalg.norm(weight)


def test_targets_of_another_world_on_held_out_positions_leave_the_weights_alone():
    x, y, weight, bias = world(500)
    y[:500] = np.random.default_rng(0).standard_normal((500, 5)) * 10
    found = fit(x, y, weight, bias)
    assert not found.improved
    assert found.ridge == np.inf
    np.testing.assert_array_equal(found.weight[0], weight)


def test_fewer_positions_than_unknowns_still_help_with_a_heavier_ridge():
    x, y, weight, bias = world(30, unknowns=60)
    start = weight + 0.3 * np.random.default_rng(1).standard_normal(weight.shape)
    found = fit(x, y, start, bias)
    assert found.ridge >= 1e-2
    assert found.after < found.before


def test_a_layer_without_a_bias_stays_without():
    x, y, weight, _ = world(2000)
    found = fit(x, y - y.mean(0), np.zeros_like(weight), np.zeros(5), free_bias=False)
    np.testing.assert_array_equal(found.bias, 0)
    expected = np.linalg.lstsq(x[:2000], (y - y.mean(0))[:2000], rcond=None)[0]
    np.testing.assert_allclose(found.weight[0], expected, atol=2e-2)


def test_errors_are_those_of_the_samples():
    x, y, weight, bias = world(300, noise=0.1)
    held_out = moments_of(x, y)
    wrong = 0.9 * weight
    expected = np.mean(np.sum((y - x @ wrong - bias) ** 2, axis=1))
    assert held_out.error(wrong[None], bias[None]) == pytest.approx(expected, rel=1e-9)
