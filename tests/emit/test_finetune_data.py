"""The script's data: what it makes of files, and the line it has for whatever is wrong with them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import network

from toolchain.data.interface import ModelInterface
from toolchain.data.open_data import open_data
from toolchain.data.preprocess import Preprocess
from toolchain.emit.finetune import files
from toolchain.emit.finetune.recipe import Recipe

IMAGENET = "resize=12,crop=8,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"


@pytest.fixture
def data(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(files.__file__).parent))
    import finetune_data

    yield finetune_data
    sys.modules.pop("finetune_data", None)


def recipe(seen=None):
    """Describe a network that takes [N, 3, 8, 8] and knows 4 classes."""
    return json.loads(Recipe.of(network(batch="N"), (), teacher=True, seen=seen).json())


def saved(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def images(count=8, size=8, dtype=np.float32):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 3, size, size)).astype(dtype)


def folder_of_images(folder, classes=("a", "b", "c", "d"), size=(20, 15)):
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def read(samples, rows):
    stored, labels = samples.read(np.array(rows))
    return samples.on_device(stored, "cpu")[0].numpy(), labels.numpy()


@pytest.mark.parametrize("text", ["", IMAGENET, "resize=9x10,crop=8,channels=bgr,scale=1/255"])
def test_a_folder_is_read_as_the_compile_reads_it(text, data, tmp_path):
    path = folder_of_images(tmp_path / "images")
    preprocess = Preprocess.parse(text) if text else None
    expected = open_data(path, ModelInterface.of(network(batch="N")), preprocess).batch([0, 5])
    found, labels = read(data.open_samples(path, recipe(), text, 2), [0, 5])
    np.testing.assert_allclose(found, expected.feeds["x"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, expected.labels)


@pytest.mark.parametrize("text", [IMAGENET, "scale=1/255,mean=0.5,std=0.25", "channels=bgr,scale=1"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_an_archive_of_images_is_read_as_the_compile_reads_it(text, layout, data, tmp_path):
    x = images(size=16 if "crop" in text else 8, dtype=np.uint8)
    path = saved(tmp_path, x=x if layout == "nchw" else x.transpose(0, 2, 3, 1), y=np.arange(8) % 4)
    expected = open_data(path, ModelInterface.of(network(batch="N")), Preprocess.parse(text)).batch([1, 7])
    found, labels = read(data.open_samples(path, recipe(), text, 2), [1, 7])
    np.testing.assert_allclose(found, expected.feeds["x"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, [1, 3])


def test_a_python_file_is_read(data, tmp_path):
    (tmp_path / "feed.py").write_text(
        "import numpy as np\n"
        "def load_data():\n"
        "    for number in range(3):\n"
        "        yield {'x': np.full((2, 3, 8, 8), number, np.float32), 'y': np.array([number, 0])}\n"
    )
    samples = data.open_samples(tmp_path / "feed.py", recipe(), "", 1)
    found, labels = read(samples, [4, 5])
    assert len(samples) == 6
    assert np.all(found == 2)
    assert labels.tolist() == [2, 0]


Y = np.arange(8) % 4
WRONG = {
    "size": (
        {"x": images(size=9), "y": Y},
        "input 'x' expects [N, 3, 8, 8], found [N, 3, 9, 9]; see --preprocess",
    ),
    "type": (
        {"x": images(dtype=np.uint8), "y": Y},
        "input 'x' expects floating-point numbers, found uint8; "
        'give --preprocess "scale=1/255", or "scale=1" for a network that takes 0 to 255',
    ),
    "range": (
        {"x": images(), "y": Y},
        "input 'x' has values from 0 to 255, but the network was compiled with -1 to 1; check --preprocess",
    ),
    "narrow range": (
        {"x": images() / 25500, "y": Y},
        "input 'x' has values from 0 to 0.01, but the network was compiled with -1 to 1; check --preprocess",
    ),
    "labels": ({"x": images() / 255, "y": Y + 1}, "labels from 1 to 4, but the network has 4 classes"),
    "negative labels": ({"x": images() / 255, "y": Y - 1}, "labels from -1 to 2, but the network has 4 classes"),
    "kind of labels": (
        {"x": images() / 255, "y": np.eye(4, dtype=np.float32)[Y]},
        "labels must be class numbers [N], found float32 [8, 4]",
    ),
    "NaN": (
        {"x": np.where(np.arange(8)[:, None, None, None] == 5, np.nan, images()).astype(np.float32), "y": Y},
        "sample 5 holds a value that is not finite; remove it",
    ),
    "lengths": (
        {"x": images() / 255, "y": Y[:7]},
        "inputs and labels must be equally many, at least one; there are [7, 8]",
    ),
    "empty": (
        {"x": images(0) / 255, "y": Y[:0]},
        "inputs and labels must be equally many, at least one; there are [0]",
    ),
    "names": ({"z": images() / 255}, "nothing for input 'x'; there is z"),
    "pickled": (
        {"x": np.array([{}, {}], dtype=object)},
        "cannot be read: ValueError: Object arrays cannot be loaded when allow_pickle=False",
    ),
}


@pytest.mark.parametrize(("arrays", "line"), WRONG.values(), ids=list(WRONG))
def test_wrong_arrays_are_told_in_a_line(arrays, line, data, tmp_path):
    path = saved(tmp_path, **arrays)
    seen = {"x": np.array([[-1, 1]], np.float32)}
    with pytest.raises(data.Stop) as stop:
        data.open_samples(path, recipe(seen), "", 1)
    assert str(stop.value) == f"{path}: {line}"
    assert stop.value.code == 2


def test_wrong_files_are_told_in_a_line(data, tmp_path):
    (tmp_path / "cut.npz").write_bytes(saved(tmp_path, x=images()).read_bytes()[:100])
    (tmp_path / "bad.py").write_text("def load_data():\n    raise RuntimeError('no disk')\n")
    (tmp_path / "empty").mkdir()
    folder_of_images(tmp_path / "three", ("a", "b", "c"))
    folder_of_images(tmp_path / "numbered", ("0", "7"))
    broken = folder_of_images(tmp_path / "broken")
    (broken / "a" / "0.png").write_bytes(b"GIF89a")
    lines = {
        "nothing.npz": ": no folder, no .npz and no .py file",
        "cut.npz": ": cannot be read: BadZipFile: File is not a zip file",
        "bad.py": ": cannot be read: RuntimeError: no disk",
        "empty": ": no image in it",
        "three": ": 3 class folders, but the network has 4 classes: a missing one would shift the labels of the "
        "others; name each folder by its label",
        "numbered": ": labels from 0 to 7, but the network has 4 classes",
        "broken": "/a/0.png: cannot be read as an image: ",
    }
    for name, line in lines.items():
        with pytest.raises(data.Stop) as stop:
            data.open_samples(tmp_path / name, recipe(), "", 1)
        assert str(stop.value).startswith(f"{tmp_path / name}{line}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("resiz=8", "--preprocess: cannot read 'resiz=8'; keys are resize, crop, channels, scale, mean, std, layout"),
        ("scale=1/0", "--preprocess scale=1/0: float division by zero"),
        ("crop=9,scale=1/255", "--preprocess crop=9x9: an image is 8x8"),
        ("mean=1:2,scale=1", "--preprocess: 2 values of mean or std, but images have 3 channels"),
    ],
)
def test_a_wrong_preprocessing_is_told_in_a_line(text, line, data, tmp_path):
    with pytest.raises(data.Stop) as stop:
        data.open_samples(saved(tmp_path, x=images(dtype=np.uint8)), recipe(), text, 1)
    assert str(stop.value).startswith(line)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_augmentation_flips_and_shifts_and_is_the_generators(layout, data):
    x = torch.arange(1, 16 * 16 + 1, dtype=torch.float32).reshape(1, 1, 16, 16).expand(64, 3, 16, 16)
    given = x.permute(0, 2, 3, 1) if layout == "nhwc" else x
    once, again = (data.augmented(given, layout, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(once, again)
    found = (once.permute(0, 3, 1, 2) if layout == "nhwc" else once).numpy()
    middle = found[:, 0, 8, 8]
    expected = {
        float(x[0, 0, 8 + down, column])
        for down in range(-2, 3)
        for right in range(-2, 3)
        for column in (8 + right, 7 - right)
    }
    assert set(middle.tolist()) <= expected
    assert len(set(middle.tolist())) > 20
    assert np.array_equal(found[:, 0], found[:, 2])


def test_reading_ahead_keeps_the_order(data, tmp_path):
    samples = data.open_samples(saved(tmp_path, x=images(), y=Y), recipe(), "", 1)
    batches = [np.array([number]) for number in (3, 1, 7, 0, 2)]
    assert [int(labels) for _, labels in data.read_ahead(samples, batches)] == [3, 1, 3, 0, 2]
