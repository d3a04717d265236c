"""Detectors of the YOLO family, small, as plain PyTorch: two levels, their heads, and the decoding that people export.

Sizes of grids and strides are buffers, as in exported files. Every detector maps (3, 32, 32) to one tensor.
"""

import torch
from structures import C2f, Residual, conv
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 3
ANCHORS = 2
BINS = 4
"""Bins of the distribution over which version 8 predicts each side of a box."""
GRIDS = (8, 4)
STRIDES = (4.0, 8.0)


class Backbone(nn.Module):
    """Two levels, fused top down and bottom up as a path aggregation network does."""

    def __init__(self, block: type[nn.Module], width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, width, 3, stride=2), conv(width, width, 3, stride=2), block(width))
        self.down = nn.Sequential(conv(width, 2 * width, 3, stride=2), block(2 * width), Spp(2 * width))
        self.lateral, self.top = conv(2 * width, width), nn.Sequential(conv(2 * width, width), block(width))
        self.up, self.bottom = (
            conv(width, width, 3, stride=2),
            nn.Sequential(conv(2 * width, 2 * width), block(2 * width)),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.stem(x)
        coarse = self.lateral(self.down(fine))
        fine = self.top(torch.cat([functional.interpolate(coarse, scale_factor=2.0), fine], 1))
        return [fine, self.bottom(torch.cat([self.up(fine), coarse], 1))]


class Spp(nn.Module):
    """Pooled again and again, all joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = conv(width, width // 2), conv(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.last(torch.cat(parts, 1))


class Darknet(nn.Module):
    """Version 3: a residual of a narrow and a wide convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = Residual(conv(width, width // 2), conv(width // 2, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class C3(nn.Module):
    """Version 5: two ways through, bottlenecks on one; `kernel` 3 for both convolutions makes C3k of version 11."""

    def __init__(self, width: int, kernel: int = 1) -> None:
        super().__init__()
        half = width // 2
        self.left = nn.Sequential(conv(width, half), Residual(conv(half, half, kernel), conv(half, half, 3)))
        self.right, self.last = conv(width, half), conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.left(x), self.right(x)], 1))


class C3k2(nn.Module):
    """Version 11: C2f whose links are C3k, then position-sensitive attention on half of the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.first, self.last = conv(width, width), conv(3 * half, width)
        self.link, self.attention = C3(half, 3), PositionAttention(half)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.first(x).chunk(2, 1)
        linked = self.link(right)
        return self.last(torch.cat([left, linked, self.attention(linked)], 1))


class PositionAttention(nn.Module):
    """Attention over positions with convolutions for projections and a depthwise one for the positions."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.width, self.scale = heads, width, (width // heads) ** -0.5
        self.query_key_value, self.project = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mlp = nn.Sequential(conv(width, 2 * width), nn.Conv2d(2 * width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = self.query_key_value(x).view(n, self.heads, 3 * c // self.heads, h * w)
        query, key, value = parts.chunk(3, 2)
        weights = torch.softmax(query.transpose(-2, -1) @ key * self.scale, -1)
        found = (value @ weights.transpose(-2, -1)).view(n, c, h, w) + self.position(value.reshape(n, c, h, w))
        x = x + self.project(found)
        return x + self.mlp(x)


class AnchorHead(nn.Module):
    """Versions 3 and 5: per anchor a box, an objectness and classes, decoded on a grid; `squared` is version 5."""

    def __init__(self, widths: tuple[int, ...], *, squared: bool) -> None:
        super().__init__()
        self.squared, self.outputs = squared, CLASSES + 5
        self.layers = nn.ModuleList(nn.Conv2d(width, ANCHORS * self.outputs, 1) for width in widths)
        for level, grid in enumerate(GRIDS):
            rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
            self.register_buffer(f"grid{level}", torch.stack([columns, rows], -1).float()[None, None], persistent=False)

    def forward(self, levels: list[Tensor]) -> Tensor:
        found = []
        for level, (x, layer) in enumerate(zip(levels, self.layers, strict=True)):
            n, _, h, w = x.shape
            raw = layer(x).view(n, ANCHORS, self.outputs, h, w).permute(0, 1, 3, 4, 2).contiguous()
            grid, stride = getattr(self, f"grid{level}"), STRIDES[level]
            found.append(self._decode(raw, grid, stride).view(n, ANCHORS * h * w, self.outputs))
        return torch.cat(found, 1)

    def _decode(self, raw: Tensor, grid: Tensor, stride: float) -> Tensor:
        if not self.squared:
            centres = (torch.sigmoid(raw[..., :2]) + grid) * stride
            return torch.cat([centres, torch.exp(0.1 * raw[..., 2:4]) * stride, torch.sigmoid(raw[..., 4:])], -1)
        centres, sizes, scores = raw.sigmoid().split((2, 2, CLASSES + 1), 4)
        return torch.cat([(centres * 2 - 0.5 + grid) * stride, (sizes * 2) ** 2 * stride, scores], 4)


class DistributionHead(nn.Module):
    """Versions 8 and 11: boxes as distributions of distances, classes apart; `light` is version 11's class branch."""

    def __init__(self, widths: tuple[int, ...], *, light: bool) -> None:
        super().__init__()
        self.boxes = nn.ModuleList(
            nn.Sequential(conv(width, 8, 3), conv(8, 8, 3), nn.Conv2d(8, 4 * BINS, 1)) for width in widths
        )
        self.classes = nn.ModuleList(
            nn.Sequential(
                conv(width, width, 3, groups=width) if light else nn.Identity(),
                conv(width, 6),
                conv(6, 6, 3, groups=6) if light else conv(6, 6, 3),
                nn.Conv2d(6, CLASSES, 1),
            )
            for width in widths
        )
        centres = [torch.cartesian_prod(torch.arange(g) + 0.5, torch.arange(g) + 0.5).flip(1).T for g in GRIDS]
        strides = [torch.full((1, g * g), s) for g, s in zip(GRIDS, STRIDES, strict=True)]
        self.register_buffer("centres", torch.cat(centres, 1)[None], persistent=False)
        self.register_buffer("strides", torch.cat(strides, 1), persistent=False)
        self.expectation = nn.Conv2d(BINS, 1, 1, bias=False)

    def forward(self, levels: list[Tensor]) -> Tensor:
        heads = zip(levels, self.boxes, self.classes, strict=True)
        joined = [torch.cat([box(x), kind(x)], 1) for x, box, kind in heads]
        flat = torch.cat([level.view(level.shape[0], 4 * BINS + CLASSES, -1) for level in joined], 2)
        box, scores = flat.split((4 * BINS, CLASSES), 1)
        n, _, positions = box.shape
        distribution = box.view(n, 4, BINS, positions).transpose(2, 1).softmax(1)
        top_left, bottom_right = self.expectation(distribution).view(n, 4, positions).chunk(2, 1)
        low, high = self.centres - top_left, self.centres + bottom_right
        decoded = torch.cat([(low + high) / 2, high - low], 1) * self.strides
        return torch.cat([decoded, scores.sigmoid()], 1)


def detector(version: int) -> nn.Module:
    """Make the detector of a version of the family: 3, 5, 8 or 11."""
    block = {3: Darknet, 5: C3, 8: C2f, 11: C3k2}[version]
    widths = (8, 16)
    old = version < 8
    head = AnchorHead(widths, squared=version == 5) if old else DistributionHead(widths, light=version == 11)
    return nn.Sequential(Backbone(block), head)
