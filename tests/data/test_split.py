import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.data.split import split
from toolchain.errors import DataError, UsageError


def rng(seed=0):
    return np.random.default_rng(seed)


@given(
    count=st.integers(2, 300),
    calibration=st.none() | st.integers(1, 300),
    evaluation=st.none() | st.integers(1, 300),
    classes=st.none() | st.integers(1, 12),
)
def test_parts_never_share_a_sample_and_have_the_size_asked_for(count, calibration, evaluation, classes):
    labels = None if classes is None else np.arange(count) % classes
    if (calibration or 1) + (evaluation or 1) > count:
        with pytest.raises(DataError, match=f"{count} samples, but .* need"):
            split(count, calibration, evaluation, rng(), labels)
        return
    parts = split(count, calibration, evaluation, rng(), labels)
    together = np.concatenate([parts.calibration, parts.evaluation])
    assert len(np.unique(together)) == len(together)
    assert together.min() >= 0
    assert together.max() < count
    assert calibration in (None, len(parts.calibration))
    assert evaluation in (None, len(parts.evaluation))


def test_a_quarter_calibrates_by_default_up_to_the_limits():
    assert [
        len(split(100, None, None, rng()).calibration),
        len(split(100, None, None, rng()).evaluation),
    ] == [25, 75]
    large = split(50_000, None, None, rng())
    assert (len(large.calibration), len(large.evaluation)) == (1_024, 10_000)
    smallest = split(2, None, None, rng())
    assert (len(smallest.calibration), len(smallest.evaluation)) == (1, 1)


def test_the_seed_decides():
    first, again, other = (split(100, None, None, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.calibration, again.calibration)
    np.testing.assert_array_equal(first.evaluation, again.evaluation)
    assert not np.array_equal(first.calibration, other.calibration)


def test_any_stretch_of_a_part_has_each_class_in_proportion():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    parts = split(1_000, 100, 500, rng(), labels)
    for part, length in ((parts.calibration, 100), (parts.calibration, 50), (parts.evaluation, 500)):
        counts = np.bincount(labels[part[:length]], minlength=3)
        assert np.abs(counts - np.array([0.6, 0.3, 0.1]) * length).max() <= 1


def test_too_few_samples_say_how_many_are_needed():
    with pytest.raises(DataError, match=r"30 samples, but .* need 41; give more data, or lower --calibration-samples"):
        split(30, 40, None, rng())


def test_a_number_below_one_is_refused():
    with pytest.raises(UsageError, match="need at least 1 sample each"):
        split(30, 0, None, rng())
