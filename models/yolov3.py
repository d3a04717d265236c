"""YOLOv3 (Redmon and Farhadi, YOLOv3: An Incremental Improvement, arXiv:1804.02767): Darknet-53 with three heads.

Input 3x416x416, 80 classes, 61,949,149 parameters.
"""

import torch
from torch import Tensor, nn

from models.registry import network

STEM = 32
STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))  # width, residual blocks
HEADS = (512, 256, 128)  # inner width, coarsest grid first
ANCHORS = 3
CLASSES = 80
PREDICTIONS = ANCHORS * (4 + 1 + CLASSES)  # box, objectness, classes


def convolution(in_channels: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size up to its stride, BatchNorm and leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(0.1)
    )


class Residual(nn.Module):
    """A 1x1 convolution to half the width, a 3x3 one back, and the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = convolution(width, width // 2, 1)
        self.restore = convolution(width // 2, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return x + self.restore(self.reduce(x))


class Head(nn.Module):
    """Five convolutions, alternately 1x1 and 3x3, then a 3x3 and the 1x1 that predicts; both ends are returned."""

    def __init__(self, in_channels: int, inner: int) -> None:
        super().__init__()
        outer = 2 * inner
        self.neck = nn.Sequential(
            convolution(in_channels, inner, 1),
            convolution(inner, outer, 3),
            convolution(outer, inner, 1),
            convolution(inner, outer, 3),
            convolution(outer, inner, 1),
        )
        self.predict = nn.Sequential(convolution(inner, outer, 3), nn.Conv2d(outer, PREDICTIONS, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map [N, C, H, W] to what the next head reads, [N, inner, H, W], and predictions [N, 255, H, W]."""
        features = self.neck(x)
        return features, self.predict(features)


class YOLOv3(nn.Module):
    """Darknet-53, whose last three stages each feed a head; a finer head also reads the coarser one's features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, STEM, 3)
        widths = [STEM, *(width for width, _ in STAGES)]
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(before, width, 3, stride=2), *(Residual(width) for _ in range(blocks)))
            for before, (width, blocks) in zip(widths, STAGES, strict=False)
        )
        self.laterals = nn.ModuleList(
            nn.Sequential(convolution(inner, inner // 2, 1), nn.Upsample(scale_factor=2)) for inner in HEADS[:-1]
        )
        coarse, middle, fine = HEADS
        routes = [width for width, _ in reversed(STAGES)]
        self.heads = nn.ModuleList(
            [Head(routes[0], coarse), Head(routes[1] + coarse // 2, middle), Head(routes[2] + middle // 2, fine)]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map images [N, 3, 416, 416] to predictions on grids of 13, 26 and 52: [N, 255, grid, grid]."""
        x = self.stem(x)
        routes = []
        for stage in self.stages:
            x = stage(x)
            routes.append(x)
        features, coarse = self.heads[0](routes[-1])
        features, middle = self.heads[1](torch.cat([self.laterals[0](features), routes[-2]], 1))
        _, fine = self.heads[2](torch.cat([self.laterals[1](features), routes[-3]], 1))
        return coarse, middle, fine


@network(input_shape=(3, 416, 416), outputs=("coarse", "middle", "fine"))
def yolov3() -> nn.Module:
    """Build YOLOv3 for the 80 classes of COCO."""
    return YOLOv3()
