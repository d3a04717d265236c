import numpy as np
import pytest
from oracle import analysed, execute, graph
from small import Samples, network, parameters, samples_of
from structures import Classifier, Dense, OptionAResidual, Residual, ShuffleV1, conv, export
from torch import nn

from passes.criteria import reconstruction
from passes.criteria.reconstruction import Reconstruction
from passes.criteria.wanda import Wanda
from toolchain.graph.normalise import normalise


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path))
    return tmp_path


def scores_of(model, samples=None, **options):
    analysis = analysed(model)
    calibration = (samples or samples_of(analysis.model)).calibration_of(analysis.model)
    return Reconstruction(**options).scores(analysis, calibration)


def stem_outputs(model, samples):
    copy = type(model)()
    copy.CopyFrom(model)
    copy.graph.output.append(type(model.graph.output[0])(name="flat"))
    return np.concatenate([execute(copy, feeds)["flat"] for feeds in samples.feeds[1:]]).astype(np.float64)


def test_the_scores_of_a_layer_sum_up_to_its_consumers_whole_output():
    model = network(batch="N")
    for values in scores_of(model).values():
        assert 1.0 <= values.sum() < 1.2  # monotone scores may exceed the errors they are made from


def test_the_last_unit_standing_costs_what_it_alone_explains():
    model = network(batch="N")
    samples = samples_of(model, batches=9, size=64)
    x = stem_outputs(model, samples)
    weight = parameters(model)["head_weight"].astype(np.float64).T
    covariance = np.cov(x.T, bias=True)
    energy = np.sum(weight * (covariance @ weight))
    alone = ((covariance @ weight) ** 2).sum(1) / np.maximum(np.diag(covariance), 1e-12) / energy
    scores = scores_of(model, samples, ridge=1e-6)["body"]
    last = int(np.argmax(scores))
    assert scores[last] == pytest.approx(alone[last], rel=0.02)


def test_a_unit_that_others_can_stand_in_for_goes_for_nothing_however_loud_it_is():
    model = network(batch="N")
    for name in ("stem_weight", "stem_bias"):
        value = parameters(model)[name].copy()
        value[3] = 5 * value[4]
        next(item for item in model.graph.initializer if item.name == name).raw_data = value.tobytes()
    scores = scores_of(model, ridge=1e-6)["stem"]
    assert min(scores[3], scores[4]) < 1e-3 * np.median(scores)
    analysis = analysed(model)
    wanda = Wanda().scores(analysis, samples_of(model).calibration_of(model))["stem"]
    assert wanda[3] > np.median(wanda)


STRUCTURES = {
    "residual": lambda: Classifier(Residual(conv(12, 12, 3), conv(12, 12, 3)), 12, 12),
    "zero-padded shortcut": lambda: Classifier(OptionAResidual(8), 8, 16),
    "depthwise": lambda: Classifier(nn.Sequential(conv(12, 12, 3, groups=12), conv(12, 12)), 12, 12),
    "grouped and shuffled": lambda: Classifier(ShuffleV1(12, 3), 12, 12),
    "joined by Concat": lambda: Classifier(Dense(8, 4, 3), 8, 20),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_group_is_scored_and_no_score_is_negative(name):
    model = normalise(export(STRUCTURES[name]()))
    analysis = analysed(model)
    scores = scores_of(model)
    assert list(scores) == [group.name for group in analysis.prunable_groups]
    for group in analysis.prunable_groups:
        assert scores[group.name].shape == (group.width,)
        assert np.all(np.isfinite(scores[group.name]))
        assert np.all(scores[group.name] >= 0)
        assert np.any(scores[group.name] > 0)


def test_a_group_that_cannot_be_refitted_is_scored_as_by_wanda():
    model = graph("""net (float[N,3,8,8] x) => (float[N,4,8,8] y) <
        float[8,3,1,1] w, float[8,8,1,1] shared, float[8,8,1,1] v, float[4,8,1,1] last
    > {
        a = Conv(x, w)
        b = Relu(a)
        c = Conv(b, v)
        y = Conv(c, last)
    }""")
    analysis, samples = analysed(model), samples_of(model)
    expected = Wanda().scores(analysis, samples.calibration_of(analysis.model))
    found = scores_of(model, samples, largest_unknowns=4)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_little_memory_takes_more_passes_and_changes_nothing():
    model = network(batch="N")
    plenty, little = scores_of(model), scores_of(model, memory_bytes=1)
    for name, values in plenty.items():
        np.testing.assert_allclose(little[name], values, rtol=1e-6)


def test_what_was_scored_once_is_read_and_not_made_again(monkeypatch):
    model = network(batch="N")
    first = scores_of(model)

    def refuse(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(reconstruction, "observe_inputs", refuse)
    for name, values in scores_of(model).items():
        np.testing.assert_array_equal(values, first[name])
    other = Samples([{"x": 2 * feeds["x"]} for feeds in samples_of(model).feeds])
    with pytest.raises(AssertionError, match="made again"):
        scores_of(model, other)
