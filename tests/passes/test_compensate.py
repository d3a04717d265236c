from dataclasses import replace

import numpy as np
import onnx
import pytest
from oracle import analysed, execute, graph, prune, random_removal
from small import Samples, context_of, network, parameters, samples_of
from structures import Classifier, OptionAResidual, Residual, conv, export
from torch import nn

from passes.compensate import Compensate
from toolchain.data.divergence import divergence
from toolchain.graph.hashing import model_sha256
from toolchain.graph.normalise import normalise
from toolchain.pipeline.contract import Cut

REMOVED = {"stem": range(0, 32, 4), "body": range(0, 32, 4)}


def cut_of(model, removed=None):
    pruned = prune(model, removed)
    return pruned.model, Cut(pruned.analysis.model, pruned.plan, pruned.surgery.kept)


def context_for(cut, folder, samples):
    return replace(context_of(network(), folder), binding={"N": 1}, calibration=samples, cut=cut)


@pytest.fixture
def model():
    return network(batch="N")


@pytest.fixture
def pruned(model):
    return cut_of(model, REMOVED)


@pytest.fixture
def context(model, pruned, tmp_path):
    return context_for(pruned[1], tmp_path, samples_of(model))


def fresh(model, seed=99, size=64):
    (item,) = model.graph.input
    shape = [dim.dim_value for dim in item.type.tensor_type.shape.dim][1:]
    return {item.name: np.random.default_rng(seed).standard_normal((size, *shape)).astype(np.float32)}


def output_error(candidate, source, seed=99):
    """Return the mean squared error relative to the variance, on samples that nothing has seen."""
    feeds = fresh(source, seed)
    (expected,), (found,) = execute(source, feeds).values(), execute(candidate, feeds).values()
    return float(np.mean((found - expected) ** 2) / np.var(expected))


def test_the_output_error_on_samples_that_nothing_has_seen_falls(model, pruned, context):
    result = Compensate()(pruned[0], context)
    assert result.modified
    assert not result.exact
    assert output_error(result.model, model) < 0.1 * output_error(pruned[0], model)


def test_a_layer_gets_the_weights_of_the_regression_on_what_it_reads_now(model, pruned, context):
    # With one layer behind the cut, its targets and inputs can be had from the runtime, and solved by hand.
    result = Compensate(positions_per_unknown=1000)(pruned[0], context)
    feeds = {"x": np.concatenate([item["x"] for item in context.calibration.feeds[1:]])}
    columns = inner(result.model, "flat", feeds)
    wanted = execute(model, feeds)["scores"]
    design = np.hstack([columns, np.ones((len(columns), 1))]).astype(np.float64)
    exact = np.linalg.lstsq(design, wanted, rcond=None)[0]
    weight = np.vstack([parameters(result.model)["head_weight"].T, parameters(result.model)["head_bias"]])
    least = np.mean((design @ exact - wanted) ** 2)
    assert np.mean((design @ weight - wanted) ** 2) < 1.3 * least


def inner(model, name, feeds):
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    seen.graph.output.append(onnx.ValueInfoProto(name=name))
    return execute(seen, feeds)[name]


def test_a_unit_that_another_one_repeats_is_made_up_for_entirely(tmp_path):
    model = network(batch="N")
    for name in ("stem_weight", "stem_bias"):
        value = parameters(model)[name].copy()
        value[1] = 2 * value[0]
        next(item for item in model.graph.initializer if item.name == name).raw_data = value.tobytes()
    found, cut = cut_of(model, {"stem": [1]})
    result = Compensate()(found, context_for(cut, tmp_path, samples_of(model)))
    assert output_error(result.model, model) < 1e-6
    assert output_error(found, model) > 1e-3


STRUCTURES = {
    "residual": lambda: Classifier(Residual(conv(12, 12, 3), conv(12, 12, 3)), 12, 12),
    "zero-padded shortcut": lambda: Classifier(OptionAResidual(12), 12, 24),
    "depthwise": lambda: Classifier(nn.Sequential(conv(12, 12, 3, groups=12), conv(12, 12)), 12, 12),
    "grouped": lambda: Classifier(conv(12, 24, 3, groups=3), 12, 24),
    "strided and dilated": lambda: Classifier(conv(12, 16, 3, stride=2, dilation=2), 12, 16),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_kind_of_block_is_repaired(name, tmp_path):
    model = normalise(export(STRUCTURES[name]()))
    found, cut = cut_of(model, random_removal(analysed(model), 0.25, 0))
    result = Compensate()(found, context_for(cut, tmp_path, samples_of(model, size=64)))
    assert result.modified, result.notes
    assert output_error(result.model, model) < 0.7 * output_error(found, model)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("z = ConvTranspose<strides=[2,2]>(a, w, b)", "float[12,12,2,2] w, float[12] b, float[5,12,1,1] y_weight"),
        ("t = Transpose<perm=[0,2,3,1]>(a) m = MatMul(t, w) s = Add(m, b) z = Transpose<perm=[0,3,1,2]>(s)", ""),
    ],
    ids=["ConvTranspose", "MatMul"],
)
def test_transposed_convolutions_and_products_are_repaired(body, shape, tmp_path):
    declared = shape or "float[12,12] w, float[12] b, float[5,12,1,1] y_weight"
    lines = body.replace(") ", ")\n")
    model = graph(f"""net (float[N,3,8,8] x) => (float[N,5,P,Q] y) <float[12,3,3,3] a_weight, {declared}> {{
        c = Conv(x, a_weight)
        a = Relu(c)
        {lines}
        y = Conv(z, y_weight)
    }}""")
    found, cut = cut_of(model, {"c": range(0, 12, 3)})
    result = Compensate()(found, context_for(cut, tmp_path, samples_of(model)))
    assert np.any(parameters(result.model)["w"] != parameters(found)["w"])
    assert output_error(result.model, model) < 0.85 * output_error(found, model)


def test_a_weight_that_two_layers_share_is_left_alone(tmp_path):
    model = graph("""net (float[N,3,8,8] x) => (float[N,4,6,6] y) <
        float[12,3,3,3] stem_weight, float[8,12,1,1] narrow, float[8] narrow_bias,
        float[8,8,1,1] shared, float[8] first_bias, float[8] second_bias, float[4,8,1,1] last, float[4] last_bias
    > {
        stem = Conv(x, stem_weight)
        stem_out = Relu(stem)
        small = Conv(stem_out, narrow, narrow_bias)
        a = Conv(small, shared, first_bias)
        b = Relu(a)
        c = Conv(b, shared, second_bias)
        d = Relu(c)
        y = Conv(d, last, last_bias)
    }""")
    found, cut = cut_of(model, {"stem": range(0, 12, 3)})
    result = Compensate()(found, context_for(cut, tmp_path, samples_of(model)))
    np.testing.assert_array_equal(parameters(result.model)["shared"], parameters(found)["shared"])
    assert np.any(parameters(result.model)["last"] != parameters(found)["last"])


def test_layers_before_the_first_cut_are_left_alone(model, tmp_path):
    found, cut = cut_of(model, {"body": range(0, 32, 4)})
    result = Compensate()(found, context_for(cut, tmp_path, samples_of(model)))
    for name in ("stem_weight", "stem_bias", "body_weight", "body_bias"):
        np.testing.assert_array_equal(parameters(result.model)[name], parameters(found)[name])
    assert result.notes[1] == "1 of 1 layers with other inputs than before refitted"


def test_what_fits_samples_of_another_world_never_harms_the_held_out_ones(model, pruned, context):
    loud = {"x": 1000 * fresh(model, 5)["x"]}
    held_out = fresh(model, 7)
    result = Compensate()(pruned[0], replace(context, calibration=Samples([held_out, loud])))
    expected = execute(model, held_out)
    before, after = (divergence(expected, execute(item, held_out)) for item in (pruned[0], result.model))
    assert after <= before
    assert (
        result.notes[0] == f"output divergence on held-out samples {before:.4f} -> {after:.4f}" or not result.modified
    )


def test_too_few_samples_are_named(model, pruned, context):
    few = Samples([fresh(model, 7, 2), fresh(model, 8, 2)])
    result = Compensate()(pruned[0], replace(context, calibration=few))
    assert any(note.startswith("fewer positions than unknowns, give more samples: ") for note in result.notes)


@pytest.mark.parametrize(
    ("missing", "note"),
    [
        ("calibration", "no samples were given: there is nothing to compensate"),
        ("cut", "nothing was pruned: there is nothing to compensate"),
    ],
)
def test_without_samples_or_pruning_the_model_is_left_alone(pruned, context, missing, note):
    result = Compensate()(pruned[0], replace(context, **{missing: None}))
    assert not result.modified
    assert result.model is pruned[0]
    assert result.notes == (note,)


def test_the_same_call_makes_the_same_bytes_whatever_was_compensated_before(model, pruned, context, tmp_path):
    once = Compensate()(pruned[0], context).model
    used = Compensate()
    other, cut = cut_of(model, {"body": range(0, 32, 2)})
    used(other, context_for(cut, tmp_path / "other", context.calibration))
    assert model_sha256(used(pruned[0], context).model) == model_sha256(once)


def test_the_given_models_are_not_written_to(pruned, context):
    before = model_sha256(pruned[0]), model_sha256(context.cut.source)
    Compensate()(pruned[0], context)
    assert (model_sha256(pruned[0]), model_sha256(context.cut.source)) == before
