import numpy as np
import pytest
from oracle import analysed, graph
from small import network, samples_of, with_a_group_that_no_layer_reads, with_a_silent_unit

from passes.criteria.fisher import Fisher
from passes.criteria.l2 import L2
from passes.gradients.likelihood import likelihood_gradients


def scores_of(model, samples, seed=0):
    analysis = analysed(model)
    return Fisher(seed=seed).scores(analysis, samples.calibration_of(analysis.model))


def test_a_score_is_half_the_mean_square_of_the_gradients():
    model = network(batch="N")
    samples = samples_of(model)
    analysis = analysed(model)
    batches = likelihood_gradients(analysis, samples.calibration_of(analysis.model), np.random.default_rng(3))
    rows = np.concatenate([item["stem"] for item in batches])
    np.testing.assert_allclose(scores_of(model, samples, seed=3)["stem"], (rows**2 / 2).mean(0), rtol=1e-9)


def test_a_unit_that_is_always_zero_scores_nothing():
    model = with_a_silent_unit()
    scores = scores_of(model, samples_of(model))["stem"]
    assert scores[3] == 0
    assert np.count_nonzero(scores) == len(scores) - 1


def test_a_group_without_a_layer_to_read_it_is_judged_where_it_is_made():
    model = with_a_group_that_no_layer_reads()
    scores = scores_of(model, samples_of(model))
    by_weight = L2().scores(analysed(model), None)
    assert scores.keys() == by_weight.keys() == {"a"}
    assert np.all(scores["a"] > 0)
    assert not np.allclose(scores["a"], by_weight["a"])


def test_a_model_that_keeps_everything_has_no_scores():
    model = graph("net (float[N,3,8,8] x) => (float[N,8,8,8] y) <float[8,3,1,1] w> { y = Conv(x, w) }")
    assert scores_of(model, samples_of(model)) == {}


def test_without_samples_there_is_no_score():
    with pytest.raises(ValueError, match="fisher needs calibration data"):
        Fisher().scores(analysed(network()), None)
