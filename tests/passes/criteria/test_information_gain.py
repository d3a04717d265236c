from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracle import analysed, execute, graph
from scipy.stats import spearmanr
from small import Samples, network, samples_of, with_a_group_that_no_layer_reads

from passes.criteria.information_gain import InformationGain
from passes.criteria.l2 import L2
from toolchain.data.divergence import divergence
from toolchain.graph.hashing import model_sha256
from toolchain.graph.oracle import masked_model
from toolchain.graph.plan import make_plan
from toolchain.graph.surgery import apply_plan

MODELS = Path(__file__).parents[3] / "models"
FORWARD, FISHER = InformationGain("forward"), InformationGain("fisher")

RESIDUAL = """net (float[N,3,8,8] x) => (float[N,4] y) <float[8,3,3,3] w0, float[8,8,3,3] w1, float[8,8,3,3] w2,
    float[4,8] w3> {
    stem = Conv<pads=[1,1,1,1]>(x, w0)
    stem_out = Relu(stem)
    a = Conv<pads=[1,1,1,1]>(stem_out, w1)
    a_out = Relu(a)
    b = Conv<pads=[1,1,1,1]>(a_out, w2)
    sum = Add(b, stem_out)
    out = Relu(sum)
    pooled = GlobalAveragePool(out)
    flat = Flatten(pooled)
    y = Gemm<transB=1>(flat, w3)
}"""


def scores_of(criterion, model, samples):
    analysis = analysed(model)
    return criterion.scores(analysis, samples.calibration_of(analysis.model))


def by_oracle(model, feeds):
    """Remove each unit alone by the mask oracle, and measure the divergence."""
    analysis = analysed(model)
    expected = execute(analysis.model, feeds)
    found = {}
    for group in analysis.prunable_groups:
        values = []
        for position in range(group.width):
            plan = make_plan(analysis, model_sha256(analysis.model), {group.name: [position]})
            masked = masked_model(analysis.model, apply_plan(analysis, plan).kept)
            values.append(divergence(expected, execute(masked, feeds)))
        found[group.name] = np.array(values)
    return found


@pytest.mark.parametrize("model", [network(batch="N", width=8), graph(RESIDUAL)], ids=["chain", "residual"])
def test_forward_is_the_divergence_that_the_mask_oracle_measures(model):
    samples = samples_of(model, batches=1, size=8)
    expected = by_oracle(model, samples.feeds[0])
    for name, found in scores_of(FORWARD, model, samples).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("text", ["y = MaxPool<kernel_shape=[2,2]>(p)", "y = Relu(p)"])
def test_outputs_without_classes_lose_squared_error(text):
    model = graph(f"""net (float[N,3,8,8] x) => (float[N,2,P,Q] y) <float[8,3,3,3] w0, float[2,8,1,1] w1> {{
        a = Conv(x, w0)
        r = Relu(a)
        p = Conv(r, w1)
        {text}
    }}""")
    samples = samples_of(model, batches=1, size=8)
    expected = by_oracle(model, samples.feeds[0])["a"]
    np.testing.assert_allclose(scores_of(FORWARD, model, samples)["a"], expected, rtol=1e-4)
    estimated = scores_of(InformationGain("fisher", draws=64), model, samples)["a"]
    assert spearmanr(estimated, expected).statistic >= 0.8


def small_change(model, scale):
    """Return the model with the last layer scaled down, so that the second order is all there is."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    last = copy.graph.initializer[[item.name for item in copy.graph.initializer].index("w3")]
    weight = onnx.numpy_helper.to_array(last) * np.float32(scale)
    last.CopyFrom(onnx.numpy_helper.from_array(weight.astype(np.float32), last.name))
    return copy


def linear():
    """Return a network without activations: outputs are linear in every mask of the last stream."""
    return graph("""net (float[N,3,8,8] x) => (float[N,4] y) <float[8,3,3,3] w0, float[8,8,3,3] w1, float[4,8] w3> {
        stem = Conv<pads=[1,1,1,1]>(x, w0)
        a = Conv<pads=[1,1,1,1]>(stem, w1)
        pooled = GlobalAveragePool(a)
        flat = Flatten(pooled)
        y = Gemm<transB=1>(flat, w3)
    }""")


def test_fisher_is_the_divergence_where_it_is_small():
    model = small_change(linear(), 0.02)
    samples = samples_of(model, batches=2, size=16)
    forward, fisher = (scores_of(item, model, samples) for item in (FORWARD, FISHER))
    for name, exact in forward.items():
        np.testing.assert_allclose(fisher[name], exact, rtol=0.05)


def test_gradients_of_coupled_layers_are_summed_before_they_are_squared():
    # Two heads that read one stream with opposite weights: together they say nothing, each alone would.
    model = graph("""net (float[N,3,8,8] x) => (float[N,4] y) <float[8,3,3,3] w0, float[4,8] w1, float[4,8] w2> {
        stem = Conv<pads=[1,1,1,1]>(x, w0)
        pooled = GlobalAveragePool(stem)
        flat = Flatten(pooled)
        one = Gemm<transB=1>(flat, w1)
        two = Gemm<transB=1>(flat, w2)
        y = Add(one, two)
    }""")
    first, second = ([item.name for item in model.graph.initializer].index(name) for name in ("w1", "w2"))
    weight = onnx.numpy_helper.to_array(model.graph.initializer[first])
    cancelled = np.array(weight)
    cancelled[:, 1:] = 0  # of unit 0 alone the second head undoes the first
    model.graph.initializer[second].CopyFrom(onnx.numpy_helper.from_array(-cancelled, "w2"))
    for criterion in (FORWARD, FISHER):
        found = scores_of(criterion, model, samples_of(model, batches=1))["stem"]
        assert found[0] < 1e-9 < found[1:].min()


def test_probabilities_and_scores_gain_alike():
    model = network(batch="N", width=8)
    softened = onnx.ModelProto()
    softened.CopyFrom(model)
    softened.graph.node.append(onnx.helper.make_node("Softmax", ["scores"], ["p"], axis=1))
    softened.graph.output[0].name = "p"
    samples = samples_of(model, batches=1)
    for criterion in (FORWARD, FISHER):
        scores, probabilities = (scores_of(criterion, item, samples) for item in (model, softened))
        for name in scores:
            np.testing.assert_allclose(probabilities[name], scores[name], rtol=1e-3, atol=1e-7)  # p in 32 bits


def test_more_classes_than_draws_are_estimated():
    model = network(batch="N", width=8)
    samples = samples_of(model, batches=4, size=16)
    exact, drawn = (scores_of(InformationGain("fisher", draws=draws), model, samples) for draws in (4, 3))
    for name in exact:
        assert not np.array_equal(drawn[name], exact[name])
        np.testing.assert_allclose(drawn[name].sum(), exact[name].sum(), rtol=0.3)


def test_scores_depend_on_the_samples_and_not_on_their_batches():
    model = network(batch="N", width=8)
    whole = samples_of(model, batches=1, size=32)
    halves = Samples([{"x": whole.feeds[0]["x"][:1]}, {"x": whole.feeds[0]["x"][:20]}, {"x": whole.feeds[0]["x"][20:]}])
    for criterion in (FORWARD, FISHER):
        once, twice = scores_of(criterion, model, whole), scores_of(criterion, model, halves)
        for name in once:
            np.testing.assert_allclose(twice[name], once[name], rtol=1e-4, atol=1e-10)


def test_no_more_samples_are_looked_at_than_asked_for():
    model = network(batch="N", width=8)
    samples = samples_of(model, batches=1, size=32)
    first = Samples([{"x": samples.feeds[0]["x"][:8]}])
    for criterion in (FORWARD, FISHER):
        few, same = scores_of(replace(criterion, max_samples=8), model, samples), scores_of(criterion, model, first)
        for name in few:
            np.testing.assert_allclose(few[name], same[name], rtol=1e-5)


def test_a_fixed_batch_of_one_will_do():
    model = network(width=8)
    samples = Samples([{"x": value} for value in samples_of(model, batches=1, size=6).feeds[0]["x"][:, None]])
    forward, fisher = (scores_of(item, model, samples) for item in (FORWARD, FISHER))
    assert spearmanr(forward["body"], fisher["body"]).statistic > 0.5
    assert forward["body"].max() > 1e-3


def test_a_group_without_a_layer_to_read_it_is_judged_where_it_is_made():
    model = with_a_group_that_no_layer_reads()
    by_weight = L2().scores(analysed(model), None)["a"]
    forward, fisher = (scores_of(criterion, model, samples_of(model))["a"] for criterion in (FORWARD, FISHER))
    assert np.all(forward > 0)
    assert spearmanr(forward, fisher).statistic > 0.9
    assert not np.allclose(forward, by_weight)


@pytest.mark.slow
def test_both_modes_rank_a_trained_network_alike():
    images = np.load(MODELS / "digits.npz")["x"].astype(np.float32)[:96]
    model = onnx.load(MODELS / "digits_resnet.onnx")
    samples = Samples([{"input": images[:32]}, {"input": images[32:]}])
    forward, fisher = (np.concatenate([*scores_of(item, model, samples).values()]) for item in (FORWARD, FISHER))
    assert spearmanr(forward, fisher).statistic >= 0.9
