import numpy as np
from oracle import analysed, execute, graph
from small import Samples, network, parameters, samples_of

from passes.criteria.l2 import L2
from passes.criteria.wanda import Wanda


def scores_of(model, samples):
    analysis = analysed(model)
    return Wanda().scores(analysis, samples.calibration_of(analysis.model))


def test_a_unit_scores_its_share_of_what_its_consumer_computes():
    model = network(batch="N")
    samples = samples_of(model)
    model.graph.output.append(model.graph.output[0])
    model.graph.output[-1].CopyFrom(type(model.graph.output[0])(name="stem_out"))
    seen = np.concatenate([execute(model, feeds)["stem_out"] for feeds in samples.feeds]).astype(np.float64)
    del model.graph.output[-1]
    columns = (parameters(model)["body_weight"].astype(np.float64) ** 2).sum((0, 2, 3))
    energy = columns * (seen**2).mean((0, 2, 3))
    np.testing.assert_allclose(scores_of(model, samples)["stem"], energy / energy.sum(), rtol=1e-5)


def test_a_unit_that_is_always_zero_scores_nothing():
    model = network(batch="N")
    for tensor in model.graph.initializer:
        if tensor.name == "stem_bias":
            bias = parameters(model)["stem_bias"].copy()
            bias[3] = -1e3  # Relu never lets it through.
            tensor.raw_data = bias.tobytes()
    scores = scores_of(model, samples_of(model))["stem"]
    assert scores[3] == 0
    assert np.count_nonzero(scores) == len(scores) - 1


def test_scores_depend_on_the_samples_and_not_on_their_batches():
    model = network(batch="N")
    whole = samples_of(model, batches=1, size=32)
    halves = Samples([{"x": whole.feeds[0]["x"][:16]}, {"x": whole.feeds[0]["x"][16:]}])
    once, twice = scores_of(model, whole), scores_of(model, halves)
    for name in once:
        np.testing.assert_allclose(twice[name], once[name], rtol=1e-6)


def test_a_group_without_a_consumer_falls_back_to_its_weights():
    model = graph("""net (float[N,3,8,8] x) => (float[N,1,8,8] y) <float[8,3,1,1] w, int64[1] axes = {1}> {
        a = Conv(x, w)
        y = ReduceSum<keepdims=1>(a, axes)
    }""")
    analysis = analysed(model)
    samples = samples_of(model)
    found = Wanda().scores(analysis, samples.calibration_of(analysis.model))
    for name, expected in L2().scores(analysis, None).items():
        np.testing.assert_array_equal(found[name], expected)
