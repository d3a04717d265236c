from pathlib import Path

import numpy as np
import pytest

from toolchain.data.arrays import ArraySource
from toolchain.data.dataset import Dataset, class_labels
from toolchain.errors import DataError


def dataset_of(interface, count, labels=None):
    images = np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((3, 8, 8), np.float32)
    return Dataset(interface, ArraySource(Path("data.npz"), {"image": images}), labels)


def test_a_symbolic_batch_takes_any_size_and_the_last_batch_is_short(classifier):
    dataset = dataset_of(classifier, 10, labels=np.arange(10))
    batches = list(dataset.batches(range(10), batch_size=4))
    assert [batch.feeds["image"].shape[0] for batch in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), np.arange(10))


def test_a_static_batch_is_always_full_and_counts_only_what_is_real(make_interface):
    interface = make_interface("float[4,3,8,8] image", "float[4,4] logits")
    batches = list(dataset_of(interface, 6, labels=np.arange(6)).batches(range(6), batch_size=64))
    assert [batch.feeds["image"].shape[0] for batch in batches] == [4, 4]
    assert [batch.samples for batch in batches] == [4, 2]
    np.testing.assert_array_equal(batches[1].labels, [4, 5])
    np.testing.assert_array_equal(batches[1].feeds["image"][:, 0, 0, 0], [4, 5, 5, 5])


def test_trim_cuts_the_padding_off_the_outputs(make_interface):
    interface = make_interface("float[4,3,8,8] image", "float[4,4] logits")
    batch = dataset_of(interface, 3).batch([0, 1, 2])
    outputs = {"logits": np.arange(4)}
    np.testing.assert_array_equal(batch.trim(outputs)["logits"], [0, 1, 2])


def test_trim_refuses_an_output_without_the_batch_axis_if_there_is_padding(make_interface):
    interface = make_interface("float[4,3,8,8] image", "float[4,4] logits")
    dataset = dataset_of(interface, 4)
    boxes = {"boxes": np.ones((7, 4))}
    assert dataset.batch(range(4)).trim(boxes) is boxes
    with pytest.raises(DataError, match=r"output 'boxes' \[7, 4\] has no batch axis of 4.*a multiple of 4"):
        dataset.batch([0, 1]).trim(boxes)


def test_indices_choose_the_samples_in_their_order(classifier):
    batch = dataset_of(classifier, 5, labels=np.arange(5) * 10).batch(np.array([3, 1]))
    np.testing.assert_array_equal(batch.feeds["image"][:, 0, 0, 0], [3, 1])
    np.testing.assert_array_equal(batch.labels, [30, 10])


def test_no_sample_and_too_few_labels_are_refused(classifier):
    with pytest.raises(DataError, match="the data holds no sample"):
        dataset_of(classifier, 0)
    with pytest.raises(DataError, match="5 samples but 4 labels; give one label per sample"):
        dataset_of(classifier, 5, labels=np.arange(4))


def test_samples_of_different_shapes_do_not_make_a_batch(make_interface):
    interface = make_interface("float[N,3,H,W] image", "float[N,4] logits")
    images = np.empty(2, dtype=object)
    images[0], images[1] = np.ones((3, 8, 8), np.float32), np.ones((3, 8, 9), np.float32)
    dataset = Dataset(interface, ArraySource(Path("data.npz"), {"image": images}))
    with pytest.raises(DataError, match=r"'image': one batch has samples \[3, 8, 8\] and \[3, 8, 9\]"):
        dataset.batch([0, 1])


def test_a_class_that_never_occurs_is_a_warning(classifier):
    assert dataset_of(classifier, 4, labels=np.arange(4)).warnings == ()
    assert dataset_of(classifier, 4, labels=np.array([0, 0, 3, 3])).warnings == (
        "2 of 4 classes never occur in the labels: 1, 2",
    )


def test_only_a_row_or_a_column_of_integers_is_class_labels():
    np.testing.assert_array_equal(class_labels(np.array([[1], [2]])), [1, 2])
    assert class_labels(np.array([1.0, 2.0])) is None
    assert class_labels(np.eye(3, dtype=int)) is None
    assert class_labels(None) is None
