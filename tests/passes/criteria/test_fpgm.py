import numpy as np
from oracle import analysed
from small import network, parameters

from passes.criteria.fpgm import Fpgm


def test_a_unit_scores_its_share_of_the_distances_between_filters():
    model = network()
    filters = parameters(model)["stem_weight"].astype(np.float64).reshape(32, -1)
    distances = np.linalg.norm(filters[:, None] - filters[None], axis=2).sum(1)
    scores = Fpgm().scores(analysed(model), None)
    np.testing.assert_allclose(scores["stem"], distances / distances.sum(), rtol=1e-9)


def test_the_filter_in_the_middle_of_all_scores_least():
    model = network()
    weight = parameters(model)["stem_weight"].copy()
    weight[7] = np.median(weight, axis=0)
    next(item for item in model.graph.initializer if item.name == "stem_weight").raw_data = weight.tobytes()
    assert np.argmin(Fpgm().scores(analysed(model), None)["stem"]) == 7
