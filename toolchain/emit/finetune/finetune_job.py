"""What finetune.py is to do, and a step of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from finetune_data import Array, Recipe, Samples, augmented
from finetune_loss import loss_of
from finetune_network import outputs_of
from finetune_state import Group, Training, rate_at
from torch import Tensor, nn

LEAST_FOR_STATISTICS = 8


@dataclass(frozen=True)
class Job:
    """What stays the same while training: the rows of `samples` train, those of `judges` judge."""

    args: argparse.Namespace
    recipe: Recipe
    group: Group
    teacher: nn.Module | None
    samples: Samples
    rows: Array
    judges: Samples
    judge_rows: Array
    at_once: int = 0
    """How many samples the networks take at once, 0 for any number."""
    weights: Sequence[Tensor] = ()
    """What the errors of each feature count."""

    @property
    def frozen_batchnorm(self) -> bool:
        """Whether BatchNorm keeps its statistics: a few samples have none that hold for all."""
        seen = self.at_once or self.args.batch_size // self.group.size
        return bool(self.args.batchnorm == "frozen" or (self.args.batchnorm == "auto" and seen < LEAST_FOR_STATISTICS))

    @property
    def steps_per_epoch(self) -> int:
        """The number of whole batches."""
        return len(self.rows) // int(self.args.batch_size)

    @property
    def steps(self) -> int:
        """The number of all steps."""
        return self.steps_per_epoch * int(self.args.epochs)

    def batches(self, epoch: int) -> Array:
        """Return sample numbers, a row for each batch; they depend on nothing but the seed and the epoch."""
        order = np.random.default_rng((self.args.seed, epoch)).permutation(self.rows)
        return order[: self.steps_per_epoch * self.args.batch_size].reshape(self.steps_per_epoch, -1)

    def targets(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return what the teacher says; nothing where there is none, or the labels alone count."""
        if self.teacher is None:
            return []
        with torch.no_grad():
            return self.outputs(self.teacher, inputs)

    def outputs(self, network: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run a network in pieces that it takes."""
        return list(outputs_of(network, inputs, self.recipe, self.at_once))

    def loss(self, network: nn.Module, inputs: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return what training makes small."""
        with autocast(self.args):
            targets, outputs = self.targets(inputs), self.outputs(network, inputs)
            labels = labels.to(self.args.device)
            loss: Tensor = loss_of(outputs, targets, self.weights, labels, self.recipe, self.args)
        return loss


def take_step(training: Training, wrapped: nn.Module, job: Job, stored: list[Tensor], labels: Tensor) -> Tensor:
    """Learn from one batch; return its loss."""
    args, done = job.args, training.epoch * job.steps_per_epoch + training.step
    inputs = job.samples.on_device(stored, args.device)
    if args.augment:
        seed = np.random.SeedSequence((args.seed, done, job.group.rank)).generate_state(1)
        generator = torch.Generator().manual_seed(int(seed[0]))
        inputs = [augmented(inputs[0], job.recipe["image"]["layout"], generator), *inputs[1:]]
    for settings in training.optimizer.param_groups:
        settings["lr"] = rate_at(done, job.steps, training.rate, args.warmup)
    loss = job.loss(wrapped, inputs, labels)
    training.optimizer.zero_grad()
    training.scaler.scale(loss).backward()
    if args.clip:
        training.scaler.unscale_(training.optimizer)
        nn.utils.clip_grad_norm_(training.network.parameters(), args.clip)
    training.scaler.step(training.optimizer)
    training.scaler.update()
    training.follow(args.ema, done)
    training.step += 1
    return loss.detach()


def autocast(args: argparse.Namespace) -> AbstractContextManager[None]:
    """Return the context of mixed precision."""
    if args.precision == "fp32":
        return nullcontext()
    return torch.autocast(args.device, torch.bfloat16 if args.precision == "bf16" else torch.float16)
