import pytest
import structures as s
import torch
from oracle import assert_pruned_equals_masked, reasons, widths
from torch import nn

BLOCKS = {
    "residual with a zero-padded shortcut": (s.OptionAResidual(6), 6, 12, [6, 6, 12]),
    "dense": (s.Dense(6, 4, 3), 6, 18, [4, 4, 4, 6]),
    "shuffle, version 1": (s.ShuffleV1(8, 2), 8, 8, [2, 4]),
    "shuffle, version 2": (s.ShuffleV2(8), 8, 8, [4, 4, 4]),
    "resnext": (s.Residual(s.conv(8, 8), s.conv(8, 8, 3, groups=4), nn.Conv2d(8, 8, 1)), 8, 8, [2, 2, 8]),
    "squeeze and excitation": (s.SqueezeExcitation(8, 4), 8, 8, [4, 8]),
    "selective kernels": (s.SelectiveKernel(6), 6, 6, [4, 6, 6]),
    "inception": (s.Inception(6), 6, 15, [3, 4, 5, 6, 6]),
    "ghost": (s.Ghost(6, 7), 6, 7, [4, 6]),
    "c2f": (s.C2f(8), 8, 8, [4, 4, 8, 8]),
    "u-net": (s.UNet(4), 4, 4, [4, 4, 4, 8]),
    "pixel shuffle": (nn.Sequential(nn.PixelShuffle(2), s.conv(3, 4)), 12, 4, [3, 4]),
    "pixel unshuffle": (nn.Sequential(nn.PixelUnshuffle(2), s.conv(12, 4)), 3, 4, [3, 4]),
    "group normalisation": (nn.Sequential(nn.GroupNorm(4, 8), s.conv(8, 4)), 8, 4, [4, 4]),
    "convnext": (s.ConvNeXt(4), 4, 4, [16]),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_has_the_groups_it_should_and_equals_masked(name: str) -> None:
    block, width, result, expected = BLOCKS[name]
    model = s.export(s.Classifier(block, width, result))
    assert sorted(widths(model).values()) == expected
    for seed, ratio in enumerate((0.2, 0.5, 0.8)):
        assert_pruned_equals_masked(model, ratio, seed)


def test_layer_normalisation_over_channels_freezes_its_stream() -> None:
    model = s.export(s.Classifier(s.ConvNeXt(4), 4, 4))
    assert any("it takes statistics across these channels" in reason for reason in reasons(model).values())


def test_attention_prunes_its_mlp_and_whole_heads() -> None:
    model = s.export(s.Classifier(s.Attention(8, 4), 8, 8))
    assert sorted(widths(model).values()) == [4, 16]
    assert_pruned_equals_masked(model)


def test_a_one_dimensional_network_is_pruned_like_any_other() -> None:
    layers = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(42, 4))
    model = s.export(layers, 2, 16)
    assert list(widths(model).values()) == [6]
    assert_pruned_equals_masked(model)


def test_a_mean_over_channels_freezes_what_it_reads() -> None:
    class Spatial(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.sigmoid(x.mean(1, keepdim=True))

    model = s.export(s.Classifier(Spatial(), 6, 6))
    assert widths(model) == {}
    assert any("it reduces over these channels" in reason for reason in reasons(model).values())
