"""A small residual network for scikit-learn's 8x8 digits, and its training: `python -m models.digits_resnet`.

Input 1x32x32 (the digits, enlarged, in 0..1), 10 classes, 953,738 parameters. It is what the quick start
prunes: trained in two minutes on a CPU, yet wide enough that its latency has stairs.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.export import export
from models.registry import network
from models.resnet import BasicBlock, stage
from toolchain.errors import EnvironmentMissing, PrunecError

SEED = 0
HELD_OUT = 600
EPOCHS = 16
BATCH = 64
FOLDER = Path(__file__).parent


class DigitsResNet(nn.Module):
    """A 3x3 stem, three stages of residual blocks (1, 2, 2) at widths 64, 96 and 128, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(BasicBlock, 64, 64, depth=1, stride=1)
        self.layer2 = stage(BasicBlock, 64, 96, depth=2, stride=2)
        self.layer3 = stage(BasicBlock, 96, 128, depth=2, stride=2)
        self.fc = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 1, 32, 32] to logits [N, 10]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


@network(input_shape=(1, 32, 32))
def digits_resnet() -> nn.Module:
    """Build the untrained network."""
    return DigitsResNet()


@dataclass(frozen=True)
class Samples:
    """Images [N, 1, 32, 32] in 0..1 and their classes [N]."""

    x: Tensor
    y: Tensor


def load_digits() -> tuple[Samples, Samples]:
    """Split the 1,797 digits by the seed, class by class, into a training and a held-out part.

    Raises:
        EnvironmentMissing: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise EnvironmentMissing(
            "scikit-learn, which holds the digits, is missing", hint="pip install scikit-learn"
        ) from error
    digits = datasets.load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 16
    x = F.interpolate(images, scale_factor=4, mode="bilinear")
    y = torch.from_numpy(digits.target).long()
    train, held_out = train_test_split(np.arange(len(y)), test_size=HELD_OUT, random_state=SEED, stratify=y)
    return Samples(x[train], y[train]), Samples(x[held_out], y[held_out])


def augment(x: Tensor) -> Tensor:
    """Rotate by up to 15 degrees, scale by up to 15 %, shift by up to 3 pixels, and add noise."""
    samples = len(x)
    angle = torch.deg2rad(torch.empty(samples).uniform_(-15, 15))
    scale = torch.empty(samples).uniform_(0.85, 1.15)
    shift = torch.empty(samples, 2, 1).uniform_(-3, 3) * 2 / x.shape[-1]
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    linear = torch.stack([cosine, -sine, sine, cosine], dim=1).view(samples, 2, 2)
    grid = F.affine_grid(torch.cat([linear, shift], dim=2), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, align_corners=False)
    return moved + 0.1 * torch.randn_like(moved)


def train(module: nn.Module, samples: Samples) -> None:
    """Train with SGD under a one-cycle schedule; print the loss of each epoch."""
    # Convolutions of a CPU are faster with channels last.
    module.train().to(memory_format=torch.channels_last)
    steps = len(samples.y) // BATCH
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=EPOCHS * steps)
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for batch in torch.randperm(len(samples.y))[: steps * BATCH].view(steps, BATCH):
            loss = F.cross_entropy(module(augment(samples.x[batch])), samples.y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch:2d} of {EPOCHS}: loss {np.mean(losses):.4f}", flush=True)
    module.eval().to(memory_format=torch.contiguous_format)


@torch.no_grad()
def accuracy(module: nn.Module, samples: Samples) -> float:
    """Return the share of samples whose class has the largest logit."""
    return (module(samples.x).argmax(1) == samples.y).float().mean().item()


def main() -> None:
    """Train, report the held-out accuracy, and write digits_resnet.onnx and digits.npz beside this file."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    train_part, held_out = load_digits()
    module = digits_resnet()
    train(module, train_part)
    print(f"held-out accuracy: {accuracy(module, held_out):.2%} of {len(held_out.y)} samples")
    export(module, held_out.x[:2], FOLDER / "digits_resnet.onnx")
    np.savez_compressed(FOLDER / "digits.npz", x=held_out.x.numpy(), y=held_out.y.numpy())


if __name__ == "__main__":
    try:
        main()
    except PrunecError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
