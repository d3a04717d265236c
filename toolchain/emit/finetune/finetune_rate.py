"""The learning rate of finetune.py, where none is given: short runs from the start find it."""

from __future__ import annotations

import argparse
import copy
import math
from dataclasses import replace

import numpy as np
import torch
from finetune_data import Array, read_ahead
from finetune_job import Job, take_step
from finetune_network import set_training
from finetune_state import Training
from torch import nn

LADDER = {
    "sgd": (0.0003, 0.001, 0.003, 0.01, 0.03),
    "adamw": (0.0001, 0.0003, 0.001, 0.003),
}
STEPS = 8
HELD_OUT = 512


def rate_by_trial(training: Training, wrapped: nn.Module, job: Job) -> float:
    """Return the rate whose trial ends with the least loss on samples held out of it, the lower one of equals.

    A trial is a run of a few steps with the schedule of a whole one; afterwards all is as it was. Where there are too
    few samples for that, or no trial ends well, it is the lowest rate.
    """
    ladder, (held_out, trial) = LADDER[job.args.optimizer], trial_of(job)
    if len(held_out) < job.group.size or not trial.args.batch_size:
        job.group.say(f"learning rate {ladder[0]:g}: too few samples to find it by trial")
        return ladder[0]
    start, losses = copy.deepcopy(training.state()), {0.0: loss_on(held_out, training, job)}
    for rate in ladder:
        training.rate = rate
        run_trial(training, wrapped, trial)
        losses[rate] = loss_on(held_out, training, job)
        training.restore(copy.deepcopy(start))
    training.trials = {rate: loss for rate, loss in losses.items() if math.isfinite(loss)}
    found = min(
        (rate for rate in ladder if rate in training.trials), key=training.trials.__getitem__, default=ladder[0]
    )
    listed = ", ".join(f"{training.trials[rate]:.4g} at {rate:g}" for rate in ladder if rate in training.trials)
    said = f"loss on {len(held_out)} samples {losses[0.0]:.4g}, after {trial.steps} steps {listed}"
    job.group.say(f"learning rate {found:g}, by trial: {said}")
    return found


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
