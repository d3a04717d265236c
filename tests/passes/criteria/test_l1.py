import numpy as np
from oracle import analysed
from small import network, parameters

from passes.criteria.l1 import L1


def test_a_unit_scores_its_share_of_its_layers_absolute_weights():
    model = network()
    scores = L1().scores(analysed(model), None)
    sizes = np.abs(parameters(model)["stem_weight"].astype(np.float64)).sum((1, 2, 3))
    np.testing.assert_allclose(scores["stem"], sizes / sizes.sum(), rtol=1e-12)
    assert set(scores) == {"stem", "body"}
