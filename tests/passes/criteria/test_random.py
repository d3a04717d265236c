import numpy as np
from oracle import analysed
from small import network

from passes.criteria.random import Random


def test_a_seed_always_gives_the_same_scores_and_another_one_others():
    analysis = analysed(network())
    first, again, other = (Random(seed).scores(analysis, None) for seed in (1, 1, 2))
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values)
        assert np.all(other[name] != values)
        assert 0.5 < values.sum() < 1.5
