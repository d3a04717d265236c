"""ResNet for CIFAR-10 (He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2).

Input 3x32x32, 10 classes. ResNet-20 has 269,722 parameters, ResNet-56 853,018. Shortcuts have none
(option A): where a stage begins, they take every second pixel and add zero channels on both sides.
The parameter names are those of https://github.com/akamaster/pytorch_resnet_cifar10: its weights load.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.registry import network


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an option-A shortcut."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.begins_stage = in_channels != width
        stride = 2 if self.begins_stage else 1
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def shortcut(self, x: Tensor) -> Tensor:
        """Return x itself, or its every second pixel with a quarter of the width as zeros on both sides."""
        if not self.begins_stage:
            return x
        zeros = self.conv2.out_channels // 4
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, zeros, zeros))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, width, H, W], halved where a stage begins."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


def stage(in_channels: int, width: int, depth: int) -> nn.Sequential:
    """Stack blocks of one width."""
    return nn.Sequential(BasicBlock(in_channels, width), *(BasicBlock(width, width) for _ in range(depth - 1)))


class ResNetCifar(nn.Module):
    """Three stages of `depth` blocks at widths 16, 32 and 64: 6 depth + 2 layers."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, depth)
        self.layer2 = stage(16, 32, depth)
        self.layer3 = stage(32, 64, depth)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, 32, 32] to logits [N, 10]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


@network(input_shape=(3, 32, 32))
def resnet20() -> nn.Module:
    """Build ResNet-20."""
    return ResNetCifar(3)


@network(input_shape=(3, 32, 32))
def resnet56() -> nn.Module:
    """Build ResNet-56."""
    return ResNetCifar(9)
