"""MobileNet V2 (Sandler et al., Inverted Residuals and Linear Bottlenecks, CVPR 2018, table 2).

Input 3x224x224, 1000 classes, 3,504,872 parameters, under torchvision's names.
"""

from torch import Tensor, nn

from models.registry import network

STEM = 32
LAST = 1280
STAGES = (  # expansion, width, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def convolution(in_channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size up to its stride, BatchNorm and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a depthwise 3x3, a linear 1x1 that narrows; a shortcut if it fits."""

    def __init__(self, in_channels: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.has_shortcut = stride == 1 and in_channels == width
        self.conv = nn.Sequential(
            *([] if expansion == 1 else [convolution(in_channels, hidden, 1)]),
            convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, width, H / stride, W / stride]."""
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


def inverted_residuals() -> nn.Sequential:
    """Stack the blocks of all stages between a 3x3 stem and a 1x1 convolution."""
    layers: list[nn.Module] = [convolution(3, STEM, 3, stride=2)]
    in_channels = STEM
    for expansion, width, depth, first_stride in STAGES:
        for index in range(depth):
            layers.append(InvertedResidual(in_channels, width, 1 if index else first_stride, expansion))
            in_channels = width
    return nn.Sequential(*layers, convolution(in_channels, LAST, 1))


class MobileNetV2(nn.Module):
    """Seventeen inverted residual blocks, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = inverted_residuals()
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(LAST, 1000))

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, 224, 224] to logits [N, 1000]."""
        return self.classifier(self.features(x).mean((2, 3)))


@network(input_shape=(3, 224, 224))
def mobilenet_v2() -> nn.Module:
    """Build MobileNet V2 at width 1.0."""
    return MobileNetV2()
