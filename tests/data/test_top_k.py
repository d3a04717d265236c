import re

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from toolchain.data.metric import BatchResult
from toolchain.data.open_metric import open_metric
from toolchain.data.top_k import TopK
from toolchain.errors import DataError, UsageError


def measure(metric, scores, labels):
    result = BatchResult({"logits": np.asarray(scores)}, None, np.asarray(labels), len(scores))
    return metric.score([metric.observe(result)]).value


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_is_what_scikit_learn_counts(k):
    generator = np.random.default_rng(0)
    scores, labels = generator.random((500, 10), dtype=np.float32), generator.integers(0, 10, 500)
    assert measure(TopK(k, "logits"), scores, labels) == pytest.approx(100 * top_k_accuracy_score(labels, scores, k=k))


def test_scores_with_axes_of_size_one_and_labels_in_a_column_count():
    assert measure(TopK(1, "logits"), np.eye(4).reshape(4, 4, 1, 1), [[0], [1], [2], [0]]) == 75.0


def test_equal_scores_rank_by_class_index_so_a_constant_output_is_not_right():
    assert measure(TopK(1, "logits"), np.ones((4, 4)), [0, 1, 2, 3]) == 25.0


def test_a_sample_with_nan_is_wrong():
    assert measure(TopK(1, "logits"), [[np.nan, np.nan], [1.0, 0.0]], [0, 0]) == 50.0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 4], "label 4 of sample 2 is not one of the model's classes, 0 to 3; labels count from 0"),
        ([0, -1, 3], "label -1 of sample 1 is not one of the model's classes, 0 to 3; labels count from 0"),
        (
            [1, 4, 2],
            "label 4 of sample 1 is not one of the model's classes, 0 to 3; the labels seem to count from 1",
        ),
        (
            [0.0, 1.0],
            "--metric top1 needs one integer label per sample; found float64 [2]; use --metric fidelity",
        ),
        (None, "--metric top1 needs one integer label per sample; there are none; use --metric fidelity"),
    ],
)
def test_labels_that_cannot_be_classes_are_refused(classifier, labels, message):
    with pytest.raises(DataError, match=re.escape(message)):
        open_metric("top1", classifier, None if labels is None else np.array(labels))


def test_a_model_without_class_scores_is_refused(make_interface):
    detector = make_interface("float[N,3,8,8] x", "float[N,100,85] boxes")
    message = "--metric top1 needs an output [N, classes]; the model has 'boxes' [N, 100, 85]; use fidelity or"
    with pytest.raises(UsageError, match=re.escape(message)):
        open_metric("top1", detector, np.arange(4))


def test_top5_of_few_classes_is_refused(classifier):
    with pytest.raises(UsageError, match="--metric top5 of 4 classes is always 100 %; use top1"):
        open_metric("top5", classifier, np.arange(4))
