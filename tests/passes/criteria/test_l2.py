import numpy as np
import pytest
from oracle import analysed, graph
from small import network, parameters

from passes.criteria.l2 import L2


def test_a_unit_scores_its_share_of_its_layers_energy():
    model = network()
    analysis = analysed(model)
    scores = L2().scores(analysis, None)
    energy = (parameters(model)["stem_weight"].astype(np.float64) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(scores["stem"], energy / energy.sum(), rtol=1e-12)


def test_only_groups_that_can_be_pruned_are_scored():
    analysis = analysed(network())
    assert set(L2().scores(analysis, None)) == {"stem", "body"}


def test_the_smallest_filter_scores_least():
    model = network()
    weight = parameters(model)["stem_weight"].copy()
    weight[5] *= 1e-3
    for tensor in model.graph.initializer:
        if tensor.name == "stem_weight":
            tensor.raw_data = weight.tobytes()
    assert np.argmin(L2().scores(analysed(model), None)["stem"]) == 5


def test_scaling_a_layer_changes_no_score():
    model, scaled = network(), network()
    for tensor in scaled.graph.initializer:
        if tensor.name == "body_weight":
            tensor.raw_data = (parameters(model)["body_weight"] * np.float32(4)).tobytes()
    expected, found = (L2().scores(analysed(item), None) for item in (model, scaled))
    np.testing.assert_allclose(found["body"], expected["body"], rtol=1e-12)


def test_layers_that_share_units_add_up():
    model = graph("""net (float[N,3,8,8] x) => (float[N,4,8,8] y) <
        float[8,3,1,1] left, float[8,3,1,1] right, float[4,8,1,1] last
    > {
        a = Conv(x, left)
        b = Conv(x, right)
        c = Add(a, b)
        y = Conv(c, last)
    }""")
    (scores,) = L2().scores(analysed(model), None).values()
    energies = [(parameters(model)[name].astype(np.float64) ** 2).sum((1, 2, 3)) for name in ("left", "right")]
    np.testing.assert_allclose(scores, sum(energy / energy.sum() for energy in energies), rtol=1e-12)
    assert scores.sum() == pytest.approx(2)
