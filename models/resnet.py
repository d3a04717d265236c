"""ResNet for ImageNet (He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1).

Input 3x224x224, 1000 classes. ResNet-18 has 11,689,512 parameters, ResNet-50 25,557,032. The stride of a
bottleneck sits in its 3x3 convolution and the parameter names are torchvision's, so that its weights load.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.registry import network


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """Return the 1x1 convolution of a shortcut that changes the shape, None for the identity."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an identity or projection shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = projection(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, width, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 convolutions, the last of which widens four times."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, 4 width, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def stage(block: type[BasicBlock | Bottleneck], in_channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    """Stack blocks of one width, the first of which carries the stride."""
    first = block(in_channels, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(depth - 1)))


class ResNet(nn.Module):
    """A 7x7 stem, four stages of residual blocks, global average pooling, one linear layer."""

    def __init__(self, block: type[BasicBlock | Bottleneck], depths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stage(block, 64, 64, depths[0], stride=1)
        self.layer2 = stage(block, 64 * block.expansion, 128, depths[1], stride=2)
        self.layer3 = stage(block, 128 * block.expansion, 256, depths[2], stride=2)
        self.layer4 = stage(block, 256 * block.expansion, 512, depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to logits [N, 1000]."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


@network(input_shape=(3, 224, 224))
def resnet18() -> nn.Module:
    """Build ResNet-18."""
    return ResNet(BasicBlock, (2, 2, 2, 2))


@network(input_shape=(3, 224, 224))
def resnet50() -> nn.Module:
    """Build ResNet-50."""
    return ResNet(Bottleneck, (3, 4, 6, 3))
