"""The learning rate of finetune.py, where none is given: short runs from the start find it."""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from finetune_data import Array, read_ahead
from finetune_job import Job, take_step
from finetune_network import set_training
from finetune_state import Training
from torch import nn

LADDER = {
    "sgd": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "adamw": (0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01),
}
STEPS = 8
HELD_OUT = 512
WORSE = 1.07
"""How many times the loss of the best trial is no longer borne. Of ResNet-20 pruned to 80, 60 and 50 % of its latency,
rates that were best for whole runs had trials up to 5 % worse than the best trial, the rates above them 9 % or more."""


def rate_by_trial(training: Training, wrapped: nn.Module, job: Job) -> float:
    """Climb a ladder of rates until a trial is clearly worse than the best; return the highest that is not.

    A trial is a run of a few steps with the schedule of a whole one; afterwards all is as it was. What is the best rate
    for so few steps is too low for a whole run, which has the time to lose its noise again.
    Where there are too few samples for a trial, it is the lowest.
    """
    ladder, (held_out, trial) = LADDER[job.args.optimizer], trial_of(job)
    if len(held_out) < job.group.size or not trial.args.batch_size:
        job.group.say(f"learning rate {ladder[0]:g}: too few samples to find it by trial")
        return ladder[0]
    start, losses = copy.deepcopy(training.state()), [loss_on(held_out, training, job)]
    for training.rate in ladder:
        run_trial(training, wrapped, trial)
        losses.append(loss_on(held_out, training, job))
        training.restore(copy.deepcopy(start))
        if not losses[-1] <= WORSE * min(losses[1:]):
            break
    rate = chosen(ladder, losses[1:])
    training.trials = {rate: loss for rate, loss in zip((0.0, *ladder), losses, strict=False) if math.isfinite(loss)}
    listed = ", ".join(f"{loss:.4g} at {tried:g}" for tried, loss in training.trials.items())
    job.group.say(f"learning rate {rate:g}: after trials of {trial.steps} steps the loss is {listed}")
    return rate


def chosen(ladder: Sequence[float], trials: Sequence[float]) -> float:
    """Return the last rate that was tried, or the one below, by the losses after trials."""
    last = len(trials) - 1
    return ladder[last if trials[-1] <= WORSE * min(trials) else max(last - 1, 0)]


def trial_of(job: Job) -> tuple[Array, Job]:
    """Return the samples that judge trials, and a trial: a job with the others that ends after some steps."""
    held_out, rows = np.split(job.rows, [min(HELD_OUT, len(job.rows) // 4)])
    args = argparse.Namespace(**vars(job.args))
    args.batch_size = min(args.batch_size, len(rows) // job.group.size * job.group.size)
    trial = replace(job, args=args, rows=rows[: STEPS * args.batch_size])
    args.epochs = -(-STEPS // trial.steps_per_epoch) if args.batch_size else 0
    return held_out, trial


def run_trial(training: Training, wrapped: nn.Module, trial: Job) -> None:
    """Take a trial's steps."""
    set_training(training.network, trial.recipe, frozen_batchnorm=trial.frozen_batchnorm)
    for training.epoch in range(trial.args.epochs):
        training.step = 0
        batches = trial.batches(training.epoch)[:, trial.group.rank :: trial.group.size]
        for stored, labels in read_ahead(trial.samples, batches):
            take_step(training, wrapped, trial, stored, labels)
    trial.group.share(training.average)


@torch.no_grad()
def loss_on(rows: Array, training: Training, job: Job) -> float:
    """Return the mean loss of the average on samples."""
    training.average.eval()
    total, mine = 0.0, rows[job.group.rank :: job.group.size]
    for stored, labels in read_ahead(job.samples, np.array_split(mine, -(-len(mine) // job.args.batch_size) or 1)):
        inputs = job.samples.on_device(stored, job.args.device)
        total += float(job.loss(training.average, inputs, labels)) * len(labels)
    total, count = job.group.sum([total, len(mine)], job.args.device)
    return float(total / count)
