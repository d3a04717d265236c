import re

import numpy as np
import pytest
from PIL import Image

from toolchain.data.open_data import open_data
from toolchain.data.preprocess import Preprocess
from toolchain.errors import DataError


def paint(path, value=100, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode != "RGB" else (value, value + 1, value + 2)).save(path)


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(("ant", "bee", "cat", "dog")):
        for number in range(2):
            paint(tmp_path / name / f"{number}.png", 50 * label + 10 * number)
    return tmp_path


def refused(path, interface, message):
    with pytest.raises(DataError, match=re.escape(message)):
        open_data(path, interface)


def test_the_place_in_the_sorted_names_is_the_label(folder, classifier):
    (folder / "dog" / "notes.txt").write_text("not an image")
    dataset = open_data(folder, classifier)
    np.testing.assert_array_equal(dataset.labels, [0, 0, 1, 1, 2, 2, 3, 3])
    image = dataset.batch([5]).feeds["image"][0]
    np.testing.assert_allclose(image[:, 3, 3], np.array([110, 111, 112]) / 255, rtol=1e-6)


def test_images_are_resized_to_the_model_and_scaled_by_default(folder, classifier):
    paint(folder / "ant" / "wide.jpg", size=(40, 20))
    dataset = open_data(folder, classifier)
    assert dataset.batch(range(9)).feeds["image"].shape == (9, 3, 8, 8)
    assert str(dataset.preprocess) == "resize=8x8,channels=rgb,scale=0.00392156862745098,layout=nchw"


def test_images_are_decoded_only_when_they_are_asked_for(folder, classifier):
    dataset = open_data(folder, classifier)
    broken = folder / "dog" / "1.png"
    broken.write_bytes(broken.read_bytes()[:40])
    dataset.batch(range(7))
    with pytest.raises(DataError, match=re.escape(f"{broken}: cannot be read as an image: ")):
        dataset.batch([7])


def test_gray_and_transparent_images_become_what_the_model_takes(folder, classifier, make_interface):
    paint(folder / "ant" / "0.png", 77, mode="L")
    paint(folder / "ant" / "1.png", (1, 2, 3, 0), mode="RGBA")
    feeds = open_data(folder, classifier).batch([0, 1]).feeds["image"]
    np.testing.assert_allclose(feeds[:, :, 0, 0] * 255, [[77, 77, 77], [1, 2, 3]], rtol=1e-6)
    gray = make_interface("float[N,1,8,8] image", "float[N,4] logits")
    np.testing.assert_allclose(open_data(folder, gray).batch([0]).feeds["image"][0, 0, 0, 0], 77 / 255, rtol=1e-6)


def test_a_model_with_channels_last_gets_them_last(folder, make_interface):
    interface = make_interface("float[N,8,8,3] image", "float[N,4] logits")
    assert open_data(folder, interface).batch([0]).feeds["image"].shape == (1, 8, 8, 3)


def test_integer_names_are_the_labels_and_an_absent_one_is_a_warning(tmp_path, classifier):
    for name in ("2", "0", "10"):
        paint(tmp_path / name / "a.png")
    refused(tmp_path, classifier, "class folder '10', but the model has 4 classes, 0 to 3; labels count from 0")
    (tmp_path / "10").rename(tmp_path / "3")
    dataset = open_data(tmp_path, classifier)
    np.testing.assert_array_equal(dataset.labels, [0, 2, 3])
    assert dataset.warnings == ("1 of 4 classes never occur in the labels: 1",)


def test_a_folder_with_a_missing_class_is_refused(folder, classifier):
    (folder / "bee").rename(folder / ".bee")
    refused(
        folder,
        classifier,
        f"{folder}: 3 class folders (ant to dog), but the model has 4 classes; a folder's place in "
        "the sorted names is its label, so a missing one shifts the others; add or remove folders, or name",
    )


def test_a_class_without_images_is_refused(folder, classifier):
    for file in (folder / "bee").iterdir():
        file.unlink()
    refused(folder, classifier, f"{folder / 'bee'}: no image in it; images end in .bmp, .gif")


def test_images_without_class_folders_have_no_labels(tmp_path, classifier):
    paint(tmp_path / "a.png")
    dataset = open_data(tmp_path, classifier)
    assert (len(dataset), dataset.labels) == (1, None)


def test_an_empty_folder_is_refused(tmp_path, classifier):
    refused(tmp_path, classifier, f"{tmp_path}: no image in it")


def test_a_model_with_other_inputs_is_refused(folder, make_interface):
    interface = make_interface("float[N,3,8,8] image, float[N,2] size", "float[N,4] logits")
    refused(
        folder,
        interface,
        "a folder of images needs a model with one input of rank 4; give this model's data as",
    )


def test_a_decompression_bomb_is_refused(folder, classifier, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    refused(
        folder,
        classifier,
        "0.png: cannot be read as an image: Image size (64 pixels) exceeds limit of 60 pixels",
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    refused(folder, classifier, "cannot be read as an image: Image size (64 pixels) exceeds limit of 40 pixels")


def test_sixteen_bit_images_are_refused(folder, classifier):
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(folder / "ant" / "0.png")
    refused(folder, classifier, "0.png: an image of mode I;16, not of 8 bits; save it with 8 bits, or use .npz")


def test_a_program_under_an_images_name_is_refused(folder, classifier):
    (folder / "ant" / "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    refused(folder, classifier, "0.png: cannot be read as an image: cannot identify image file")


def test_images_of_different_sizes_are_refused_without_a_resize(folder, classifier):
    paint(folder / "ant" / "1.png", size=(9, 8))
    dataset = open_data(folder, classifier, Preprocess.parse("scale=1/255"))
    with pytest.raises(DataError, match=re.escape("1.png: input 'image' expects [N, 3, 8, 8], found [N, 3, 8, 9]")):
        dataset.batch([0, 1])
