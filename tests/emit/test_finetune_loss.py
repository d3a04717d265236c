"""What the emitted script learns from outputs that are no class scores: every feature, however small."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from toolchain.emit.finetune import files

SCALES = torch.tensor([10.0, 10.0, 0.1, 0.01])
VALUES = {
    "recipe": {"outputs": [{"classes": None, "floating": True}]},
    "args": Namespace(temperature=4, label_weight=0),
}


@pytest.fixture
def loss(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(files.__file__).parent))
    import finetune_loss

    yield finetune_loss
    for name in ("finetune_data", "finetune_loss", "finetune_network"):
        sys.modules.pop(name, None)


def said(generator, *, along=-1):
    """What a teacher says of boxes and scores: 8 samples of 50 cells, features of very different size."""
    rows = SCALES * torch.randn(8, 50, 4, generator=generator) + torch.tensor([100.0, 0.0, 0.0, 0.0])
    return rows.movedim(-1, along)


@pytest.mark.parametrize("along", [1, 2])
def test_features_lie_along_the_axis_whose_variances_differ_most(along, loss):
    batches = [[said(torch.Generator().manual_seed(seed), along=along)] for seed in range(8)]
    (weight,) = loss.feature_weights(batches)
    assert list(weight.shape) == [4 if axis == along else 1 for axis in range(3)]
    variance = SCALES.square()
    expected = 1 / (variance + 0.01 * variance.log().mean().exp())
    torch.testing.assert_close(weight.flatten(), expected, rtol=0.1, atol=0)


def test_an_output_without_features_has_one_weight(loss):
    (weight,) = loss.feature_weights([[torch.tensor([1.0, 2.0, 3.0])], [torch.tensor([4.0])]])
    torch.testing.assert_close(weight, torch.tensor([1 / (1.25 * 1.01)]))


def test_a_few_rows_are_one_feature(loss):
    rows = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 0.0, 4.0]])
    (weight,) = loss.feature_weights([[rows]])
    torch.testing.assert_close(weight, (1 / (1.01 * rows.var(correction=0))).reshape(1, 1))


def test_a_small_feature_counts_as_much_as_a_large_one_and_a_tiny_one_less(loss):
    target = said(torch.Generator().manual_seed(0))
    (weight,) = loss.feature_weights([[target]])
    losses = []
    for feature in range(4):
        output = target.clone()
        output[..., feature] = target[..., feature].mean()
        losses.append(float(loss.loss_of([output], [target], [weight], torch.zeros(8), **VALUES)))
    variance = target.flatten(0, 1).double().var(0, correction=0)
    expected = 0.25 * variance / (variance + 0.01 * variance.log().mean().exp())
    assert losses == pytest.approx(expected.tolist(), rel=1e-4)
    assert losses[2] > 0.18, "a hundredth of the largest"
    assert losses[3] < 0.01, "what hardly moves"


def test_the_error_of_a_constant_is_about_one(loss):
    target = said(torch.Generator().manual_seed(0))
    (weight,) = loss.feature_weights([[target]])
    constant = target.mean((0, 1)).expand_as(target)
    assert float(loss.errors_of(target, target, weight).max()) == 0
    assert float(loss.errors_of(constant, target, weight).mean()) == pytest.approx((2.77 / 4) ** 0.5, rel=0.1)


def test_an_output_of_one_value_a_sample_has_an_error_a_sample(loss):
    """A siamese network's similarity, [N], ended the script in a traceback."""
    target = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(loss.errors_of(target + 2, target, torch.tensor([4.0])), torch.full((3,), 4.0))
