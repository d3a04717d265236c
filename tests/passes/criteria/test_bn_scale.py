import numpy as np
from oracle import analysed, graph
from small import network, parameters

from passes.criteria.bn_scale import BnScale
from passes.criteria.l2 import L2


def test_a_unit_scores_the_share_of_its_scale():
    model = graph("""net (float[N,3,8,8] x) => (float[N,4,8,8] y) <
        float[8,3,1,1] w, float[8] scale, float[8] shift, float[8] mean, float[8] variance, float[4,8,1,1] last
    > {
        a = Conv(x, w)
        b = BatchNormalization(a, scale, shift, mean, variance)
        y = Conv(b, last)
    }""")
    (scores,) = BnScale().scores(analysed(model), None).values()
    scale = np.abs(parameters(model)["scale"].astype(np.float64))
    np.testing.assert_allclose(scores, scale / scale.sum(), rtol=1e-12)


def test_where_the_scale_is_folded_the_weights_decide():
    analysis = analysed(network())
    for name, expected in L2().scores(analysis, None).items():
        np.testing.assert_array_equal(BnScale().scores(analysis, None)[name], expected)
