import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from toolchain.data.interface import TensorSpec
from toolchain.data.preprocess import Preprocess
from toolchain.errors import DataError, UsageError

TEXT = "resize=256,crop=224,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,channels=bgr,layout=nchw"


def spec(*shape, dtype=np.float32):
    return TensorSpec("image", np.dtype(dtype), shape)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_every_key_is_read():
    assert Preprocess.parse(TEXT) == Preprocess(
        (256,), (224,), "bgr", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "nchw"
    )


@given(
    scale=st.none() | st.floats(1e-6, 1e6),
    mean=st.lists(st.floats(-1e6, 1e6), max_size=3),
    resize=st.lists(st.integers(1, 999), max_size=2),
)
def test_the_text_of_a_preprocess_reads_back_as_the_same(scale, mean, resize):
    preprocess = Preprocess(resize=tuple(resize), scale=scale, mean=tuple(mean), layout="nhwc")
    assert Preprocess.parse(str(preprocess)) == preprocess


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sclae=1/255",
            "--preprocess: unknown key 'sclae'; keys are resize, crop, channels, scale, mean, std, layout",
        ),
        ("", "--preprocess: unknown key ''; keys are"),
        ("scale=1/0", "--preprocess: '1/0' is no value for 'scale'; keys are"),
        ("scale=nan", "--preprocess: 'nan' is no value for 'scale'; keys are"),
        ("mean=0.5;0.5", "--preprocess: '0.5;0.5' is no value for 'mean'; keys are"),
        ("std=0", "--preprocess: '0' is no value for 'std'; keys are"),
        ("resize=0", "--preprocess: '0' is no value for 'resize'; keys are"),
        ("crop=1x2x3", "--preprocess: '1x2x3' is no value for 'crop'; keys are"),
        ("channels=yuv", "--preprocess: 'yuv' is no value for 'channels'; keys are"),
        ("scale=1,scale=2", "--preprocess: 'scale' is given twice; give it once"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_the_keys(text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Preprocess.parse(text)


def test_the_shorter_side_is_resized_and_the_centre_cut_out(image):
    resized = Image.fromarray(image).resize((30, 20), Image.Resampling.BILINEAR)
    expected = np.asarray(resized)[2:18, 7:23]
    np.testing.assert_array_equal(Preprocess.parse("resize=20,crop=16").apply(image, "here"), expected)


def test_resize_takes_height_and_width(image):
    assert Preprocess.parse("resize=10x12").apply(image, "here").shape == (10, 12, 3)


def test_mean_and_std_are_in_the_models_channel_order(image):
    result = Preprocess.parse("mean=0.1:0.2:0.3,std=1:2:4,scale=1/255,channels=bgr,layout=nchw").apply(image, "here")
    blue, red = image[..., 2] / 255, image[..., 0] / 255
    np.testing.assert_allclose(result[0], blue - 0.1, atol=1e-6)
    np.testing.assert_allclose(result[2], (red - 0.3) / 4, atol=1e-6)
    assert result.dtype == np.float32


def test_gray_and_rgb_are_made_of_each_other(image):
    gray = Preprocess(channels="gray").apply(image, "here")
    np.testing.assert_array_equal(gray[..., 0], np.asarray(Image.fromarray(image).convert("L")))
    np.testing.assert_array_equal(Preprocess(channels="rgb").apply(gray, "here"), np.repeat(gray, 3, axis=2))


def test_what_is_not_named_is_not_done(image):
    assert Preprocess().apply(image, "here") is image


def test_channels_and_layout_follow_the_model():
    assert Preprocess().resolve(spec(None, 3, 8, 8)) == Preprocess(channels="rgb", layout="nchw")
    assert Preprocess().resolve(spec(None, 8, 8, 3)) == Preprocess(channels="rgb", layout="nhwc")
    assert Preprocess().resolve(spec(None, 1, 8, 8)) == Preprocess(channels="gray", layout="nchw")
    assert Preprocess(channels="bgr").resolve(spec(None, 3, 8, 8)).channels == "bgr"


def test_the_default_resizes_to_the_model_and_scales_for_floats_only():
    assert Preprocess.default(spec(None, 3, 8, 9)) == Preprocess(resize=(8, 9), scale=1 / 255)
    assert Preprocess.default(spec(None, 8, 9, 3)) == Preprocess(resize=(8, 9), scale=1 / 255)
    assert Preprocess.default(spec(None, 3, 8, 9, dtype=np.uint8)) == Preprocess(resize=(8, 9))


def test_the_default_needs_a_model_of_fixed_size():
    with pytest.raises(DataError, match=re.escape("'image' [N, 3, ?, ?] does not fix the size of an image; say it:")):
        Preprocess.default(spec(None, 3, None, None))


@pytest.mark.parametrize(
    ("text", "dtype", "message"),
    [
        ("crop=41", np.uint8, "here: crop=41x41 is larger than the image, 40x60; resize to at least"),
        ("mean=1:2", np.uint8, "here: mean has 2 values, the image 3 channels; give one per channel"),
        ("resize=20", np.float32, "here: resize needs uint8 and 1 or 3 channels, found float32 [40, 60, 3]"),
    ],
)
def test_a_step_that_does_not_fit_the_image_is_refused(image, text, dtype, message):
    with pytest.raises(DataError, match=re.escape(message)):
        Preprocess.parse(text).apply(image.astype(dtype), "here")
