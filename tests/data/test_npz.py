import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from toolchain.data.open_data import open_data
from toolchain.data.preprocess import Preprocess
from toolchain.errors import DataError, UsageError

IMAGES = np.random.default_rng(0).random((6, 3, 8, 8), dtype=np.float32)
LABELS = np.array([0, 1, 2, 3, 0, 1])
CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10" / "cifar10_test_a.npz"


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path

    return write


def refused(path, interface, message, preprocess=None):
    with pytest.raises(DataError, match=re.escape(message)):
        open_data(path, interface, preprocess)


def test_x_feeds_the_only_input_and_y_is_the_labels(save, classifier):
    dataset = open_data(save(x=IMAGES, y=LABELS), classifier)
    batch = dataset.batch(range(6))
    np.testing.assert_array_equal(batch.feeds["image"], IMAGES)
    np.testing.assert_array_equal(batch.labels, LABELS)


def test_arrays_are_found_by_input_name_and_labels_may_be_absent(save, make_interface):
    interface = make_interface("float[N,3,8,8] a, float[N,2] y", "float[N,4] logits")
    dataset = open_data(save(a=IMAGES, y=np.ones((6, 2), np.float32)), interface)
    assert dataset.labels is None
    assert dataset.batch([0]).feeds["y"].shape == (1, 2)


@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 8, 8, 3)])
def test_bytes_in_either_layout_are_preprocessed_to_the_models(save, classifier, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    stored = pixels if shape[1] == 3 else pixels.transpose(0, 2, 3, 1)
    dataset = open_data(save(x=stored), classifier, Preprocess.parse("scale=1/255,mean=0.5"))
    np.testing.assert_allclose(dataset.batch([4]).feeds["image"][0], pixels[4] / 255 - 0.5, atol=1e-6)
    assert str(dataset.preprocess) == "channels=rgb,scale=0.00392156862745098,mean=0.5,layout=nchw"


def test_gray_images_need_no_channel_axis(save, make_interface):
    interface = make_interface("float[N,1,8,8] image", "float[N,4] logits")
    dataset = open_data(save(x=np.full((2, 8, 8), 51, np.uint8)), interface, Preprocess.parse("scale=1/255"))
    np.testing.assert_allclose(dataset.batch([1]).feeds["image"], np.full((1, 1, 8, 8), 0.2), rtol=1e-6)


def test_a_file_that_is_no_archive_is_refused(tmp_path, classifier):
    path = tmp_path / "data.npz"
    path.write_text("hello")
    refused(path, classifier, f"{path}: not an .npz archive; write it with numpy.savez(path, x=..., y=...)")


def test_a_truncated_archive_is_refused(save, classifier):
    path = save(x=IMAGES)
    content = bytearray(path.read_bytes())
    content[300:2000] = bytes(1700)
    path.write_bytes(content)
    refused(path, classifier, f"{path}: array 'x' cannot be read: Bad CRC-32")


def test_an_archive_of_something_else_is_refused(tmp_path, classifier):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, classifier, f"{path}: nothing for input 'image'; there is 'readme.txt'")


def test_pickled_arrays_are_never_read(save, classifier):
    path = save(x=np.array([{"a": 1}, None], dtype=object))
    refused(path, classifier, f"{path}: array 'x' cannot be read: pickled objects; save plain arrays")


def test_a_missing_array_is_refused_with_what_is_there(save, classifier):
    path = save(imgs=IMAGES, y=LABELS)
    refused(
        path,
        classifier,
        f"{path}: nothing for input 'image'; there is 'imgs', 'y'; the model's inputs are 'image'",
    )


def test_a_wrong_shape_is_refused_when_the_data_is_opened(save, classifier):
    path = save(x=IMAGES[:, :, :7])
    refused(path, classifier, f"{path}, sample 0: input 'image' expects [N, 3, 8, 8], found [N, 3, 7, 8]")


def test_bytes_without_preprocess_are_refused(save, classifier):
    path = save(x=np.ones((6, 3, 8, 8), np.uint8))
    refused(path, classifier, "input 'image' expects float32, found uint8; give --preprocess \"scale=1/255\"")


def test_a_value_that_is_not_finite_names_its_sample(save, classifier):
    images = IMAGES.copy()
    images[5, 0, 0, 0] = np.nan
    path = save(x=images)
    dataset = open_data(path, classifier)
    with pytest.raises(DataError, match=f"{path}, sample 5: input 'image' has a value that is not finite"):
        list(dataset.batches(range(6)))


def test_unequal_lengths_are_refused(save, make_interface, classifier):
    refused(save(x=IMAGES, y=LABELS[:5]), classifier, "6 samples but 5 labels")
    two = make_interface("float[N,3,8,8] a, float[N,2] b", "float[N,4] logits")
    path = save(a=IMAGES, b=np.ones((5, 2), np.float32))
    refused(path, two, f"{path}: arrays of different lengths: 'a' 6, 'b' 5; axis 0 is the batch in all of them")


@pytest.mark.parametrize("images", [IMAGES[:0], np.float32(1)])
def test_empty_data_is_refused(save, classifier, images):
    refused(save(x=images), classifier, "the data holds no sample")


def test_preprocess_needs_images(save, classifier):
    path = save(x=np.ones((6, 5, 3, 8, 8), np.uint8))
    message = f"{path}, sample 0: --preprocess needs images, found shape [5, 3, 8, 8]"
    refused(path, classifier, message, Preprocess(scale=1.0))


def test_preprocess_needs_an_image_input(save, make_interface):
    interface = make_interface("float[N,2] features", "float[N,4] logits")
    with pytest.raises(UsageError, match=re.escape("the model has 'features' [N, 2]; leave it out")):
        open_data(save(x=np.ones((6, 2))), interface, Preprocess(scale=1.0))


@pytest.mark.skipif(not CIFAR.exists(), reason="the CIFAR-10 test images are not here")
def test_cifar10_is_read_and_normalised(make_interface):
    interface = make_interface("float[N,3,32,32] input", "float[N,10] logits")
    preprocess = Preprocess.parse("scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225")
    dataset = open_data(CIFAR, interface, preprocess)
    pixels = np.load(CIFAR)["x"][:2].astype(np.float64)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    assert (len(dataset), dataset.warnings) == (5_000, ())
    np.testing.assert_allclose(dataset.batch([0, 1]).feeds["input"], expected, atol=2e-6)
