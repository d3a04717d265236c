import numpy as np
import pytest
from small import network, samples_of

from toolchain.pipeline.few_samples import FewSamples


@pytest.mark.parametrize(("samples", "batches"), [(1, 1), (16, 1), (17, 2), (1000, 7)])
def test_it_stops_after_the_batch_in_which_there_are_enough(samples, batches):
    model = network(batch="N")
    source = samples_of(model, batches=8, size=16)
    few = FewSamples(source, samples, 1).calibration_of(model)
    for _ in range(2):
        assert len(list(few.batches())) == batches
        assert len(list(few.held_out())) == 1


@pytest.mark.parametrize(("samples", "judging", "batches"), [(32, 16, 1), (32, 48, 3), (32, 1000, 6), (1000, 1000, 1)])
def test_what_does_not_repair_judges_after_what_is_held_out(samples, judging, batches):
    model = network(batch="N")
    whole = samples_of(model, batches=8, size=16).calibration_of(model)
    few = FewSamples(samples_of(model, batches=8, size=16), samples, judging).calibration_of(model)
    for _ in range(2):
        fitted, judged = list(few.batches()), list(few.held_out())
        expected = [*whole.held_out(), *list(whole.batches())[len(fitted) :]][:batches]
        assert len(judged) == batches
        assert all(np.array_equal(ours["x"], theirs["x"]) for ours, theirs in zip(judged, expected, strict=True))


def test_they_are_the_sources_first_seen_through_the_same_model():
    model = network(batch="N")
    whole = samples_of(model).calibration_of(model)
    few = FewSamples(samples_of(model), 32, 32).calibration_of(model)
    for ours, theirs in zip(few.batches(), whole.batches(), strict=False):
        assert np.array_equal(ours["x"], theirs["x"])
        assert np.array_equal(few.observe(["stem"])(ours)["stem"], whole.observe(["stem"])(theirs)["stem"])
