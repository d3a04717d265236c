"""MobileNet V1 (Howard et al., MobileNets, arXiv:1704.04861, table 1).

Input 3x224x224, 1000 classes, 4,231,976 parameters.
"""

from torch import Tensor, nn

from models.registry import network

STEM = 32
BLOCKS = (  # width, stride
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


def convolution(in_channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size up to its stride, BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


def separable(in_channels: int, width: int, stride: int) -> nn.Sequential:
    """Return a 3x3 depthwise convolution followed by a 1x1 convolution."""
    return nn.Sequential(
        convolution(in_channels, in_channels, 3, stride, groups=in_channels),
        convolution(in_channels, width, 1),
    )


class MobileNetV1(nn.Module):
    """A 3x3 stem, thirteen depthwise separable blocks, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        widths = [STEM, *(width for width, _ in BLOCKS)]
        self.features = nn.Sequential(
            convolution(3, STEM, 3, stride=2),
            *(separable(before, width, stride) for before, (width, stride) in zip(widths, BLOCKS, strict=False)),
        )
        self.classifier = nn.Linear(widths[-1], 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, 224, 224] to logits [N, 1000]."""
        return self.classifier(self.features(x).mean((2, 3)))


@network(input_shape=(3, 224, 224))
def mobilenet_v1() -> nn.Module:
    """Build MobileNet V1 at width 1.0."""
    return MobileNetV1()
