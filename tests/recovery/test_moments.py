import numpy as np

from toolchain.recovery.moments import STRETCH, MomentSums


def test_covariances_in_stretches_of_float32_are_those_in_float64():
    rng = np.random.default_rng(0)
    x = (3 + rng.standard_normal((2, 2 * STRETCH + 100, 9))).astype(np.float32)
    y = rng.standard_normal((2, 2 * STRETCH + 100, 4)).astype(np.float32)
    sums = MomentSums(2, 9, 4)
    for part in np.array_split(np.arange(x.shape[1]), 3):
        sums.add(x[:, part], y[:, part])
    found = sums.moments().centred()
    for group in range(2):
        both = np.cov(np.hstack([x[group], y[group]]).astype(np.float64).T, bias=True)
        np.testing.assert_allclose(found.xx[group], both[:9, :9], atol=1e-5)
        np.testing.assert_allclose(found.xy[group], both[:9, 9:], atol=1e-5)
    assert found.count == x.shape[1]
    np.testing.assert_allclose(found.yy, y.astype(np.float64).var(1).sum(), rtol=1e-6)
