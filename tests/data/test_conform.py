import re

import numpy as np
import pytest

from toolchain.data.conform import conform
from toolchain.data.interface import TensorSpec
from toolchain.errors import DataError

IMAGE = TensorSpec("image", np.dtype(np.float32), (None, 3, 8, None))


def test_a_fitting_sample_is_passed_on_as_it_is():
    sample = np.ones((3, 8, 5), np.float32)
    assert conform(sample, IMAGE, "here") is sample


def test_float64_is_cast_to_float32():
    assert conform(np.ones((3, 8, 5)), IMAGE, "here").dtype == np.float32


def test_integers_are_cast_where_every_value_survives():
    spec = TensorSpec("ids", np.dtype(np.int32), (None, 2))
    assert conform(np.array([1, 2]), spec, "here").dtype == np.int32
    with pytest.raises(DataError, match="input 'ids' expects int32, found int64; save the array in the"):
        conform(np.array([1, 2**40]), spec, "here")


def test_bytes_for_a_float_input_are_refused_and_the_hint_shows_the_scale():
    message = "a.npz: input 'image' expects float32, found uint8; give --preprocess \"scale=1/255\""
    with pytest.raises(DataError, match=re.escape(message)):
        conform(np.ones((3, 8, 5), np.uint8), IMAGE, "a.npz")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 9, 5), "expects [N, 3, 8, ?], found [N, 3, 9, 5]; resize or crop with --preprocess"),
        ((8, 5, 3), 'expects [N, 3, 8, ?], found [N, 8, 5, 3]; give --preprocess "layout=nchw"'),
        ((8, 5), "expects [N, 3, 8, ?], found [N, 8, 5]; axis 0 is the batch"),
        ((2, 3, 8, 5), "expects [N, 3, 8, ?], found [N, 2, 3, 8, 5]; the model has no batch axis: export it with one"),
    ],
)
def test_a_wrong_shape_is_refused_with_what_was_expected_and_found(shape, message):
    with pytest.raises(DataError, match=re.escape(f"here: input 'image' {message}")):
        conform(np.ones(shape, np.float32), IMAGE, "here")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_value_that_is_not_finite_in_the_models_type_is_refused(value):
    with pytest.raises(DataError, match="here: input 'image' has a value that is not finite as float32"):
        conform(np.full((3, 8, 5), value), IMAGE, "here")
