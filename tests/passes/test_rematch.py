from dataclasses import replace

import numpy as np
import onnx
import pytest
from oracle import execute, graph, prune
from small import Samples, context_of, network, parameters, samples_of

from passes.rematch import Rematch
from toolchain.graph.hashing import model_sha256
from toolchain.pipeline.contract import Pruning
from toolchain.strategies.contract import Found

REMOVED = {"stem": range(0, 32, 2), "body": range(0, 32, 3)}


@pytest.fixture
def model():
    return network(batch="N")


@pytest.fixture
def pruned(model):
    return prune(model, REMOVED)


@pytest.fixture
def context(model, pruned, tmp_path):
    decided = Pruning(model, pruned.plan, pruned.surgery.kept, Found(None, (), True), "l2", (), ())
    return replace(context_of(network(), tmp_path), binding={"N": 1}, calibration=samples_of(model), cut=decided)


def fresh_feeds(seed=99, size=64):
    return {"x": np.random.default_rng(seed).standard_normal((size, 3, 8, 8)).astype(np.float32)}


def output_error(candidate, source, feeds):
    """Return the mean squared error relative to the variance."""
    expected, found = execute(source, feeds)["scores"], execute(candidate, feeds)["scores"]
    return float(np.mean((found - expected) ** 2) / np.var(expected))


def test_the_output_error_on_samples_that_nothing_has_seen_falls(model, pruned, context):
    result = Rematch()(pruned.model, context)
    assert result.modified
    assert not result.exact
    assert output_error(result.model, model, fresh_feeds()) < 0.5 * output_error(pruned.model, model, fresh_feeds())


def test_every_layer_gets_back_its_channels_mean_and_standard_deviation(model, pruned, context):
    result = Rematch()(pruned.model, context).model
    fitting = list(context.calibration.calibration_of(model).batches())
    for name, weight in (("stem", "stem_weight"), ("body", "body_weight")):
        kept = pruned.surgery.kept[weight][0]
        wanted = channels(model, name, fitting)[:, kept]
        found = channels(result, name, fitting)
        np.testing.assert_allclose(found.mean(0), wanted.mean(0), atol=1e-4)
        np.testing.assert_allclose(found.std(0), wanted.std(0), rtol=1e-3)


def channels(model, name, batches):
    """Return the values of an inner tensor as (positions, channels)."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    seen.graph.output.append(onnx.ValueInfoProto(name=name))
    values = [execute(seen, feeds)[name] for feeds in batches]
    return np.concatenate([np.moveaxis(value, 1, -1).reshape(-1, value.shape[1]) for value in values]).astype(float)


def test_the_correction_is_bounded(pruned, context):
    result = Rematch(largest_rescale=1.1)(pruned.model, context)
    before, after = parameters(pruned.model), parameters(result.model)
    for name in ("stem_weight", "body_weight", "head_weight"):
        factor = after[name] / before[name]
        assert factor.min() >= 1 / 1.1 - 1e-5
        assert factor.max() <= 1.1 + 1e-5


def test_a_second_application_finds_next_to_nothing_to_do(pruned, context):
    once = Rematch()(pruned.model, context).model
    twice = Rematch()(once, context).model
    for name, value in parameters(once).items():
        np.testing.assert_allclose(parameters(twice)[name], value, rtol=1e-3, atol=1e-4)


def test_a_correction_that_does_not_carry_over_to_other_samples_is_not_kept(pruned, context):
    # What fits is a thousand times larger than what judges: its statistics are those of another world.
    loud = {"x": 1000 * fresh_feeds(5)["x"]}
    misleading = Samples([loud, fresh_feeds(7)])
    result = Rematch()(pruned.model, replace(context, calibration=misleading))
    assert not result.modified
    assert result.model is pruned.model
    before, after = result.notes[0].removeprefix("output error on held-out samples ").split(" -> ")
    assert float(after) > float(before)


@pytest.mark.parametrize(
    ("missing", "note"),
    [
        ("calibration", "no samples were given: there is nothing to match"),
        ("cut", "nothing was pruned: there is nothing to match"),
    ],
)
def test_without_samples_or_pruning_the_model_is_left_alone(pruned, context, missing, note):
    result = Rematch()(pruned.model, replace(context, **{missing: None}))
    assert not result.modified
    assert result.model is pruned.model
    assert result.notes == (note,)


def test_the_given_models_are_not_written_to(model, pruned, context):
    before = model_sha256(model), model_sha256(pruned.model)
    Rematch()(pruned.model, context)
    assert (model_sha256(model), model_sha256(pruned.model)) == before


def test_a_weight_that_two_layers_share_is_left_alone(tmp_path):
    model = graph("""net (float[N,8,8,8] x) => (float[N,4,8,8] y) <
        float[8,8,1,1] shared, float[8] first_bias, float[8] second_bias, float[4,8,1,1] last, float[4] last_bias
    > {
        a = Conv(x, shared, first_bias)
        b = Relu(a)
        c = Conv(b, shared, second_bias)
        d = Relu(c)
        y = Conv(d, last, last_bias)
    }""")
    cut = prune(model)
    decided = Pruning(model, cut.plan, cut.surgery.kept, Found(None, (), True), "l2", (), ())
    context = replace(context_of(network(), tmp_path), binding={"N": 1}, calibration=samples_of(model), cut=decided)
    result = Rematch()(cut.model, context)
    np.testing.assert_array_equal(parameters(result.model)["shared"], parameters(cut.model)["shared"])
