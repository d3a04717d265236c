import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from models import digits_resnet
from toolchain.errors import EnvironmentMissing

FOLDER = Path(digits_resnet.__file__).parent
MODEL = FOLDER / "digits_resnet.onnx"


@pytest.fixture(scope="module")
def held_out() -> tuple[np.ndarray, np.ndarray]:
    with np.load(FOLDER / "digits.npz") as arrays:
        return arrays["x"], arrays["y"]


def test_the_model_reaches_the_accuracy_of_the_readme(held_out: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = held_out
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    accuracy = np.mean(session.run(["logits"], {"input": x})[0].argmax(1) == y)
    stated = re.search(r"held-out accuracy \| ([\d.]+) %", (FOLDER / "README.md").read_text())
    assert stated
    assert f"{accuracy:.2%}" == f"{stated[1]}%"


def test_the_model_has_a_symbolic_batch_and_its_batchnorm_nodes() -> None:
    graph = onnx.load(MODEL).graph
    operators = Counter(node.op_type for node in graph.node)
    assert operators["BatchNormalization"] == operators["Conv"] == 13
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_the_held_out_samples_are_those_that_training_does_not_see(
    held_out: tuple[np.ndarray, np.ndarray],
) -> None:
    pytest.importorskip("sklearn")
    x, y = held_out
    seen, unseen = digits_resnet.load_digits()
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert np.array_equal(x, unseen.x) and np.array_equal(y, unseen.y)
    assert len(seen.y) + len(unseen.y) == 1797
    assert not {image.tobytes() for image in seen.x.numpy()} & {image.tobytes() for image in x}


def test_augmentation_moves_samples_and_keeps_their_shape(held_out: tuple[np.ndarray, np.ndarray]) -> None:
    x = torch.from_numpy(held_out[0][:8])
    torch.manual_seed(0)
    once, again = digits_resnet.augment(x), digits_resnet.augment(x)
    assert once.shape == x.shape
    assert not torch.allclose(once, again, atol=0.1)


def test_a_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(EnvironmentMissing, match=r"scikit-learn.* is missing; pip install"):
        digits_resnet.load_digits()
