"""What changes while finetune.py trains: weights, optimiser, checkpoint; and the processes that share them."""

from __future__ import annotations

import argparse
import copy
import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from finetune_data import Array, Stop
from torch import Tensor, nn
from torch import distributed as dist

SAME_RUN = (
    *("data", "validation", "validation_fraction", "preprocess", "epochs", "batch_size", "optimizer", "lr"),
    *(
        "weight_decay",
        "warmup",
        "clip",
        "ema",
        "temperature",
        "label_weight",
        "augment",
        "batchnorm",
        "precision",
        "seed",
    ),
)
"""Options that must not change between a checkpoint and what continues it."""
PLAIN = ("best", "scores", "epoch", "step", "rate", "trials")
"""What of a training is no module with a state of its own."""


@dataclass(frozen=True)
class Group:
    """The processes that train together (one, without torchrun); the first one speaks and writes."""

    rank: int
    size: int

    @classmethod
    def join(cls, device: str) -> Group:
        """Take part where torchrun started this."""
        if "RANK" not in os.environ:
            return cls(0, 1)
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    def say(self, text: str) -> None:
        """Print a line."""
        if self.rank == 0:
            print(text, flush=True)

    def sum(self, values: Sequence[float], device: str) -> list[float]:
        """Add up over all processes."""
        total = torch.tensor(values, dtype=torch.float32 if device == "cuda" else torch.float64, device=device)
        if self.size > 1:
            dist.all_reduce(total)
        return [float(value) for value in total]

    def share(self, network: nn.Module) -> None:
        """Give every process the state that the first one has."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return the network as it trains: where there are others, every step adds their gradients.

        Buffers move by each process's own batches; those of the first one are kept.
        """
        return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False) if self.size > 1 else network


@dataclass
class Training:
    """All that changes while training, and is in the checkpoint; `average` follows `network` and is judged."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    best: dict[str, Tensor] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    epoch: int = 0
    step: int = 0
    rate: float = 0.0
    """The highest learning rate, 0 as long as it is not known."""
    trials: dict[float, float] = field(default_factory=dict)
    """The held-out loss after a trial of each rate; that of rate 0 is the start's."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer", "scaler")}
        return parts | {name: getattr(self, name) for name in PLAIN}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        for name in ("network", "average", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        for name in PLAIN:
            setattr(self, name, state[name])

    @torch.no_grad()
    def follow(self, decay: float, steps: int) -> None:
        """Let the average follow the network, closely at first."""
        share = 1 - min(decay, (1 + steps) / (10 + steps))
        for slow, fast in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, share)

    def keep_if_best(self, score: float) -> None:
        """Remember the average if nothing was better."""
        if score > self.scores.get("best", -math.inf):
            self.best, self.scores["best"] = copy.deepcopy(self.average.state_dict()), score


class Checkpoint:
    """The file from which the same command continues; it is replaced as a whole."""

    def __init__(self, path: Path, weights: Path, rows: Array, args: argparse.Namespace, group: Group) -> None:
        self.path, self._group, self._device = path, group, args.device
        self._run = {f"--{name.replace('_', '-')}": str(getattr(args, name)) for name in SAME_RUN}
        self._run[weights.name] = hashlib.sha256(weights.read_bytes()).hexdigest()
        self._run["choice of samples"] = hashlib.sha256(rows.tobytes()).hexdigest()

    def save(self, training: Training) -> None:
        """Write it, from the first process."""
        if self._group.rank == 0:
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            with temporary.open("wb") as stream:
                torch.save({"run": self._run, **training.state()}, stream)
                os.fsync(stream.fileno())
            temporary.replace(self.path)

    def restore(self, training: Training) -> bool:
        """Continue where there is one; Stop where it is another run's."""
        if not self.path.exists():
            return False
        state = torch.load(self.path, map_location=self._device, weights_only=True)
        changed = [name for name, value in self._run.items() if state["run"].get(name) != value]
        if changed:
            raise Stop(f"{self.path} is of a run with another {changed[0]}; --restart forgets it")
        training.restore(state)
        self._group.say(f"continuing after {training.epoch} epochs and {training.step} steps")
        return True


def optimizer_for(network: nn.Module, args: argparse.Namespace) -> torch.optim.Optimizer:
    """Let weight decay act on matrices and kernels alone."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": args.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if args.optimizer == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=0.9, nesterov=True)


def rate_at(step: int, steps: int, highest: float, warmup: float) -> float:
    """Rise linearly, then fall to zero like half a cosine."""
    rising = max(int(warmup * steps), 1)
    if step < rising:
        return highest * (step + 1) / rising
    return highest * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))
