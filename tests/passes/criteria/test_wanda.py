import numpy as np
from oracle import analysed, execute, graph
from small import Samples, network, parameters, samples_of, with_a_silent_unit

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
    seen = np.concatenate([execute(model, feeds)["stem_out"] for feeds in samples.feeds[1:]]).astype(np.float64)
    del model.graph.output[-1]
    columns = (parameters(model)["body_weight"].astype(np.float64) ** 2).sum((0, 2, 3))
    energy = columns * (seen**2).mean((0, 2, 3))
    np.testing.assert_allclose(scores_of(model, samples)["stem"], energy / energy.sum(), rtol=1e-5)


def test_a_unit_that_is_always_zero_scores_nothing():
    model = with_a_silent_unit()
    scores = scores_of(model, samples_of(model))["stem"]
    assert scores[3] == 0
    assert np.count_nonzero(scores) == len(scores) - 1


def test_scores_depend_on_the_samples_and_not_on_their_batches():
    model = network(batch="N")
    whole = samples_of(model, batches=1, size=32)
    held_out, (samples,) = {}, whole.feeds
    halves = Samples([held_out, {"x": samples["x"][:16]}, {"x": samples["x"][16:]}])
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


def test_a_branch_that_adds_little_to_its_stream_scores_little_as_a_whole():
    text = """net (float[N,3,8,8] x) => (float[N,2,8,8] y) <float[8,3,1,1] w0, float[8,8,1,1] w1, float[8,8,1,1] w2,
        float[2,8,1,1] w3> {
        stem = Conv(x, w0)
        a = Conv(stem, w1)
        b = Conv(a, w2)
        sum = Add(b, stem)
        y = Conv(sum, w3)
    }"""
    model = graph(text)
    samples = samples_of(model)
    loud = scores_of(model, samples)["a"].sum()
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            tensor.raw_data = (0.01 * parameters(model)["w2"]).astype(np.float32).tobytes()
    quiet = scores_of(model, samples_of(model))["a"].sum()
    observed = [execute(_with_outputs(model, ["b", "sum"]), feeds) for feeds in samples_of(model).feeds[1:]]
    branch, joined = (np.concatenate([item[name] for item in observed]).var((0, 2, 3)).sum() for name in ("b", "sum"))
    np.testing.assert_allclose(quiet, branch / joined, rtol=1e-4)
    assert quiet < 1e-3 * loud


def _with_outputs(model, names):
    copy = type(model)()
    copy.CopyFrom(model)
    copy.graph.output.extend(type(model.graph.output[0])(name=name) for name in names)
    return copy
