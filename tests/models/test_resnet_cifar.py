from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from models.export import load_weights
from models.registry import networks
from models.resnet_cifar import BasicBlock

TRAINED = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10_models"


def test_an_option_a_shortcut_takes_every_second_pixel_and_adds_zero_channels_on_both_sides() -> None:
    x = torch.randn(2, 16, 8, 8)
    shortcut = BasicBlock(16, 32).shortcut(x)
    assert shortcut.shape == (2, 32, 4, 4)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert not shortcut[:, :8].any() and not shortcut[:, 24:].any()


@pytest.mark.skipif(not TRAINED.is_dir(), reason=f"the trained networks are not at {TRAINED}")
@pytest.mark.parametrize(
    ("name", "weights"), [("resnet20", "resnet20-12fca82f.th"), ("resnet56", "resnet56-4bfd9763.th")]
)
def test_trained_weights_give_the_logits_of_their_published_onnx(name: str, weights: str) -> None:
    module = networks()[name].build().eval()
    load_weights(module, TRAINED / weights)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(TRAINED / f"{name}_cifar10.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"input": x.numpy()})[0]
    np.testing.assert_allclose(module(x).detach(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
