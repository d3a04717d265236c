"""The building blocks of the field, small, as plain PyTorch; each maps 3 channels to a few classes."""

import io

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[Tensor, Tensor]


def export(module: nn.Module, *shape: int) -> onnx.ModelProto:
    """Export with an open batch axis `N`; weights and statistics are seeded random numbers."""
    torch.manual_seed(0)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.is_floating_point():
            scale = 1.0 if value.ndim < 2 else value[0].numel() ** -0.5
            value.data = torch.randn_like(value) * scale
            if name.endswith("running_var"):
                value.data = value.data.abs() + 0.5
    stream = io.BytesIO()
    example = torch.randn(2, *(shape or (3, 8, 8)))
    torch.onnx.export(
        module.eval(),
        (example,),
        stream,
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
    )
    return onnx.load_from_string(stream.getvalue())


def conv(before: int, after: int, kernel: int = 1, **options: int) -> nn.Sequential:
    """Convolution, normalisation, activation."""
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.LeakyReLU())


class Classifier(nn.Module):
    """A stem, a block, and a pooled linear head."""

    def __init__(self, block: nn.Module, width: int, result: int) -> None:
        super().__init__()
        self.stem, self.block, self.head = conv(3, width), block, nn.Linear(result, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x)).mean((2, 3)))


class OptionAResidual(nn.Module):
    """A residual block that halves the image, doubles the channels and pads its shortcut with zeros."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first, self.second = conv(width, 2 * width, 3, stride=2), nn.Conv2d(2 * width, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        half = self.width // 2
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        return functional.leaky_relu(self.second(self.first(x)) + shortcut)


class Dense(nn.Module):
    """DenseNet: every layer reads all before it, through its own normalisation."""

    def __init__(self, width: int, growth: int, layers: int) -> None:
        super().__init__()
        inputs = [width + i * growth for i in range(layers)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, growth, 3, padding=1)) for n in inputs
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Shuffle as in the reference code: all sizes read from the tensor."""
    n, c, h, w = x.size()
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class ShuffleV1(nn.Module):
    """ShuffleNet V1: grouped convolution, shuffle, depthwise, grouped convolution, residual."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.first = conv(width, width, 1, groups=groups)
        self.depthwise = conv(width, width, 3, groups=width)
        self.last = nn.Conv2d(width, width, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.last(self.depthwise(channel_shuffle(self.first(x), self.groups)))
        return functional.leaky_relu(x + inner)


class ShuffleV2(nn.Module):
    """ShuffleNet V2: half the channels pass, half are worked on, then both are shuffled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(conv(half, half), conv(half, half, 3, groups=half), conv(half, half))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        return channel_shuffle(torch.cat([left, self.branch(right)], 1), 2)


class Residual(nn.Module):
    """A block plus its input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x + self.layers(x))


class SqueezeExcitation(nn.Module):
    """Two fully connected layers weigh the channels."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, squeezed), nn.Linear(squeezed, width)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.sigmoid(self.up(functional.leaky_relu(self.down(x.mean((2, 3))))))
        return x * weights[:, :, None, None]


class SelectiveKernel(nn.Module):
    """Two branches from one grouped convolution, weighed by a softmax over the branches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.both, self.squeeze = conv(width, 2 * width, 3), nn.Conv2d(width, 4, 1)
        self.weights = nn.Conv2d(4, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = self.both(x).reshape(x.shape[0], 2, self.width, x.shape[2], x.shape[3])
        pooled = branches.sum(1).mean((2, 3), keepdim=True)
        weights = self.weights(functional.leaky_relu(self.squeeze(pooled))).reshape(x.shape[0], 2, self.width, 1, 1)
        return (branches * torch.softmax(weights, 1)).sum(1)


class Inception(nn.Module):
    """Parallel branches that are concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow, self.pooled = conv(width, 4), conv(width, 6)
        self.wide = nn.Sequential(conv(width, 3), conv(3, 5, 3))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(functional.max_pool2d(x, 3, 1, 1))
        return torch.cat([self.narrow(x), self.wide(x), pooled], 1)


class Ghost(nn.Module):
    """GhostNet: half of the channels are cheap depthwise copies; what is too much is sliced off."""

    def __init__(self, width: int, result: int) -> None:
        super().__init__()
        self.result = result
        half = (result + 1) // 2
        self.primary, self.cheap = conv(width, half), conv(half, half, 3, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], 1)[:, : self.result]


class C2f(nn.Module):
    """YOLOv8: split in halves, a chain of bottlenecks on one, all joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.first, self.last = conv(width, width), conv(4 * half, width)
        self.chain = nn.ModuleList([Residual(conv(half, half, 3)), Residual(conv(half, half, 3))])

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).split(self.first[0].out_channels // 2, 1))
        for layer in self.chain:
            parts.append(layer(parts[-1]))
        return self.last(torch.cat(parts, 1))


class UNet(nn.Module):
    """Down, up by a transposed convolution, joined with what it was."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.last = conv(width, 2 * width, 3, stride=2), conv(2 * width, width, 3)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([x, self.up(self.down(x))], 1))


class ConvNeXt(nn.Module):
    """Depthwise convolution, LayerNorm over channels, two linear layers, layer scale, residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.scale = nn.LayerNorm(width), nn.Parameter(torch.ones(width))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        last = self.depthwise(x).permute(0, 2, 3, 1)
        return x + (self.scale * self.mlp(self.norm(last))).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """A transformer block over positions: several heads, then an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        parts = self.query_key_value(tokens).reshape(n, h * w, 3, self.heads, c // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(query @ key.transpose(-1, -2) * (c // self.heads) ** -0.5, -1)
        tokens = tokens + self.project((weights @ value).transpose(1, 2).reshape(n, h * w, c))
        return (tokens + self.mlp(tokens)).transpose(1, 2).reshape(n, c, h, w)
