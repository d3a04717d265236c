from pathlib import Path

import numpy as np
import pytest

from toolchain.data.arrays import ArraySource
from toolchain.data.dataset import Dataset
from toolchain.data.fidelity import ClassFidelity
from toolchain.data.metric import BatchResult, evaluate, mean_percent, proportion
from toolchain.data.top_k import TopK


def first_pixels(feeds):
    return {"logits": feeds["image"][:, 0, 0, :4]}


@pytest.fixture
def images():
    return np.random.default_rng(0).random((10, 3, 8, 8), dtype=np.float32)


def dataset_of(make_interface, batch, images):
    interface = make_interface(f"float[{batch},3,8,8] image", f"float[{batch},4] logits")
    labels = images[:, 0, 0, :4].argmax(axis=1)
    labels[7:] = (labels[7:] + 1) % 4
    return Dataset(interface, ArraySource(Path("data.npz"), {"image": images}), labels)


@pytest.mark.parametrize("batch", ["N", "1", "8"])
def test_padding_has_no_influence_on_the_score(make_interface, images, batch):
    dataset = dataset_of(make_interface, batch, images)
    score = evaluate(TopK(1, "logits"), dataset.batches(range(10)), first_pixels)
    assert (score.name, score.value, score.samples, score.unit) == ("top1", 70.0, 10, "%")


def test_a_model_is_scored_against_the_originals_outputs(make_interface, images):
    dataset = dataset_of(make_interface, "8", images)
    references = [first_pixels(batch.feeds) for batch in dataset.batches(range(10))]
    metric = ClassFidelity("logits")
    score = evaluate(metric, dataset.batches(range(10)), first_pixels, references)
    assert (score.value, score.samples, score.extras) == (100.0, 10, (("kl_nats", 0.0),))
    with pytest.raises(ValueError, match="pass its outputs"):
        evaluate(metric, dataset.batches(range(10)), first_pixels)
    with pytest.raises(ValueError, match="shorter"):
        evaluate(metric, dataset.batches(range(10)), first_pixels, references[:1])


def test_a_batch_result_holds_no_padding(make_interface, images):
    batch = dataset_of(make_interface, "8", images).batch([0, 1, 2])
    outputs = first_pixels(batch.feeds)
    result = BatchResult.of(batch, outputs, outputs)
    assert (len(result.outputs["logits"]), len(result.reference["logits"]), len(result.labels)) == (3, 3, 3)


def test_a_proportion_has_wilsons_interval():
    score = proportion("top1", np.array([True] * 9 + [False]))
    z, p, n = 1.959963984540054, 0.9, 10
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert score.low == pytest.approx(100 * (centre - half), rel=1e-9)
    assert score.high == pytest.approx(100 * (centre + half), rel=1e-9)


def test_a_mean_has_the_normal_interval_from_two_samples_on():
    values = np.random.default_rng(0).normal(0.9, 0.02, 400)
    score = mean_percent("fidelity", values)
    assert score.value == pytest.approx(100 * values.mean())
    assert score.high - score.low == pytest.approx(2 * 1.96 * 100 * values.std(ddof=1) / 20)
    assert mean_percent("fidelity", values[:1]).low is None
