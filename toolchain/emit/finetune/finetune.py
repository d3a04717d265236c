"""Train the pruned network (model.py) to do again what the original (teacher.py) does.

    python finetune.py --data DATA --epochs 10
    torchrun --nproc_per_node=4 finetune.py --data DATA --epochs 10

DATA is an .npz file with x and, if there are labels, y; a folder of class folders with images; or a Python file with
load_data(), which yields {input name: array, "y": labels}. Killed at any time, the same command continues.

The result is model.finetuned.onnx: model.onnx with the weights that were best on samples which never train. Needs
torch, numpy, onnx (and pillow for images) and the files beside it; finetune.json says how they hang together.
Exit codes: 0 done, 1 failed, 2 the call or the data is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from finetune_data import Array, Recipe, Samples, Stop, open_samples, read_ahead
from finetune_job import Job, take_step
from finetune_loss import errors_of, feature_weights
from finetune_network import (
    batch_of,
    calibrate_batchnorms,
    freeze_the_rest,
    read_network,
    set_training,
    trained_outputs,
    write_back,
)
from finetune_rate import rate_by_trial
from finetune_state import Checkpoint, Group, Training, optimizer_for
from torch import Tensor, nn
from torch import distributed as dist

FOLDER = Path(__file__).resolve().parent
WEIGHTS = "weights.safetensors"
RESULT, FIGURES, CHECKPOINT = "model.finetuned.onnx", "finetune.result.json", "finetune.checkpoint"
SECONDS_BETWEEN_LINES = 10.0
CALIBRATION_BATCHES = 8
CHECKED_SAMPLES = 4


def options(recipe: Recipe) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the pruned network to do again what the original does.")
    add = parser.add_argument
    add("--data", type=Path, required=True, help="an .npz, a folder of class folders, or a Python file")
    add("--validation", type=Path, help="data that judges, instead of a part of --data")
    add("--validation-fraction", type=float, default=0.1, help="the part of --data that judges (%(default)s)")
    add("--exclude", type=Path, help="a text file of sample numbers in --data that are not used at all")
    add("--preprocess", default=recipe["preprocess"], help='what is done to images ("%(default)s")')
    add("--epochs", type=int, default=10, help="(%(default)s)")
    add("--batch-size", type=int, default=0, help="over all processes (8 to 128, as there are samples)")
    add("--optimizer", choices=("sgd", "adamw"), default="sgd", help="(%(default)s)")
    add("--lr", type=float, default=0.0, help="the highest learning rate (0: found by trial)")
    add("--weight-decay", type=float, default=1e-4, help="(%(default)s)")
    add("--warmup", type=float, default=0.05, help="part of all steps in which the rate rises (%(default)s)")
    add("--clip", type=float, default=5.0, help="the largest norm of the gradient, 0 for any (%(default)s)")
    add("--ema", type=float, default=0.99, help="how slowly the judged average of the weights follows (%(default)s)")
    add("--temperature", type=float, default=4.0, help="softens what the original says of classes (%(default)s)")
    add("--label-weight", type=float, default=0.0, help="0: imitate the original, 1: labels alone (%(default)s)")
    add("--augment", action="store_true", help="flip images, and shift them by up to an eighth")
    add("--batchnorm", choices=("auto", "train", "frozen"), default="auto", help="auto: frozen for small batches")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="auto: mixed on CUDA")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--workers", type=int, default=min(os.cpu_count() or 1, 8), help="threads that read images (%(default)s)")
    add("--seed", type=int, default=0, help="(%(default)s)")
    add("--output", type=Path, default=FOLDER, help="where the result and the checkpoint go (beside this file)")
    add("--checkpoint-seconds", type=float, default=60.0, help="at the end of epochs and so often (%(default)s)")
    add("--restart", action="store_true", help="forget the checkpoint")
    args = parser.parse_args()
    least = {"epochs": 1, "batch_size": 0, "workers": 1, "lr": 0, "weight_decay": 0, "clip": 0, "temperature": 0.1}
    for name, value in least.items():
        if not value <= getattr(args, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: it must be at least {value}")
    for name in ("validation_fraction", "warmup", "ema", "label_weight"):
        if not 0 <= getattr(args, name) < 1 + (name == "label_weight"):
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: it must lie between 0 and 1")
    return args


def resolved_precision(args: argparse.Namespace) -> str:
    """Return what `auto` means here."""
    if args.precision != "auto":
        return str(args.precision)
    if args.device == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


@torch.no_grad()
def score_of(network: nn.Module, job: Job) -> float:
    """Return in percent: right classes; without labels, the teacher's classes; without classes, 1 - error.

    The error is the root of the mean square of the difference to the teacher's, relative to each feature's variance.
    """
    network.eval()
    classes_at = next((n for n, spec in enumerate(trained_outputs(job.recipe)) if spec["classes"]), None)
    right, mine = 0.0, job.judge_rows[job.group.rank :: job.group.size]
    for stored, labels in read_ahead(job.judges, np.array_split(mine, -(-len(mine) // job.args.batch_size) or 1)):
        inputs = job.judges.on_device(stored, job.args.device)
        outputs = job.outputs(network, inputs)
        if classes_at is not None:
            labelled = job.judges.labels is not None
            wanted = labels.to(job.args.device) if labelled else job.targets(inputs)[classes_at].argmax(1)
            right += (outputs[classes_at].argmax(1) == wanted).sum().item()
            continue
        for output, target, weight in zip(outputs, job.targets(inputs), job.weights, strict=True):
            right += (1 - errors_of(output, target, weight)).sum().item() / len(outputs)
    total, count = job.group.sum([right, len(mine)], job.args.device)
    return float(100 * total / count)


def train(training: Training, wrapped: nn.Module, job: Job, save: Callable[[Training], None]) -> None:
    """Run the epochs that are left; `training.best` becomes the weights that judged best."""
    args, group, network = job.args, job.group, training.network
    while training.epoch < args.epochs:
        said = saved = started = time.monotonic()
        first, epoch = training.step, f"epoch {training.epoch + 1}/{args.epochs}"
        total = torch.zeros((), device=args.device)
        set_training(network, job.recipe, frozen_batchnorm=job.frozen_batchnorm)
        batches = job.batches(training.epoch)[training.step :, group.rank :: group.size]
        for stored, labels in read_ahead(job.samples, batches):
            total += take_step(training, wrapped, job, stored, labels)
            if (now := time.monotonic()) - said > SECONDS_BETWEEN_LINES:
                steps, said = training.step - first, now
                speed = f"{steps * args.batch_size / (now - started):,.0f} samples/s"
                group.say(f"{epoch}, step {training.step}/{job.steps_per_epoch}: loss {total / steps:.4f}, {speed}")
            if now - saved >= args.checkpoint_seconds:
                saved = now
                save(training)
        (loss,) = group.sum([float(total) / max(training.step - first, 1) / group.size], args.device)
        if not math.isfinite(loss):
            raise Stop(f"{epoch}: the loss is no longer finite; lower --lr", 1)
        group.share(training.average)
        score = score_of(training.average, job)
        training.keep_if_best(score)
        seconds = time.monotonic() - started
        group.say(f"{epoch}: {score:.2f} %, best {training.scores['best']:.2f} %, loss {loss:.4f}, {seconds:.0f} s")
        training.epoch, training.step = training.epoch + 1, 0
        save(training)


def open_job(args: argparse.Namespace, recipe: Recipe, group: Group) -> Job:
    """Open data and teacher; Stop where they do not fit."""
    if args.augment and recipe["image"] is None:
        raise Stop("--augment is for a network that takes images")
    samples = open_samples(args.data, recipe, args.preprocess, args.workers)
    rows, judge_rows = split(samples, args)
    args.batch_size = args.batch_size or fitting_batch(len(rows)) // group.size * group.size
    if not 0 < args.batch_size <= len(rows):
        found = f"{len(rows)} samples to train on and {len(judge_rows)} to judge"
        raise Stop(f"{samples.path}: {found}, but --batch-size is {args.batch_size}")
    if args.batch_size % group.size:
        raise Stop(f"--batch-size {args.batch_size} cannot be divided among {group.size} processes")
    judges = open_samples(args.validation, recipe, args.preprocess, args.workers) if args.validation else samples
    judge_rows = np.arange(len(judges)) if args.validation else judge_rows
    teacher = read_network(FOLDER, "teacher", "teacher.safetensors").to(args.device) if recipe["teacher"] else None
    if teacher is None:
        args.label_weight = 1.0
    if (args.label_weight > 0 and samples.labels is None) or (teacher is None and judges.labels is None):
        raise Stop(
            f"{args.data}: no labels for classes in it, so only an original can teach; --label-weight 0 imitates it"
        )
    return Job(args, recipe, group, teacher, samples, rows, judges, judge_rows)


def split(samples: Samples, args: argparse.Namespace) -> tuple[Array, Array]:
    """Return the numbers of the samples that train and of those that judge: the same for the same seed."""
    order = np.random.default_rng(args.seed).permutation(len(samples))
    if args.exclude:
        order = order[~np.isin(order, read_numbers(args.exclude))]
    judging = 0 if args.validation else max(round(len(order) * args.validation_fraction), 1)
    return order[judging:], order[:judging]


def fitting_batch(samples: int) -> int:
    """Return the power of two that makes at least 16 steps of an epoch, within 8 and 128, or all samples there are."""
    wanted = 1 << max(samples // 16, 1).bit_length() - 1
    return min(max(wanted, 8), 128, samples)


def read_numbers(path: Path) -> Array:
    """Read whole numbers, separated by white space."""
    try:
        return np.array([int(part) for part in path.read_text().split()], np.int64)
    except (OSError, ValueError) as error:
        raise Stop(f"--exclude {path}: {error}") from error


def prepare(training: Training, job: Job, first: Sequence[Sequence[Tensor]]) -> None:
    """Judge network and teacher as they are; let BatchNorm begin with what it sees."""
    if job.teacher is not None:
        training.scores["original"] = score_of(job.teacher, job)
        check_against_chance(training.scores["original"], job)
    calibrate_batchnorms(training.network, job.recipe, first, job.at_once)
    training.average.load_state_dict(training.network.state_dict())
    training.scores["start"] = score_of(training.average, job)
    training.keep_if_best(training.scores["start"])
    listed = ", ".join(
        f"{name} {training.scores[name]:.2f} %" for name in ("original", "start") if name in training.scores
    )
    job.group.say(f"{len(job.rows):,} samples train, {len(job.judge_rows):,} judge: {listed}")


def check_against_chance(score: float, job: Job) -> None:
    """Refuse data with which the original is no better than a guess: wrong labels or wrong preprocessing.

    Labels drawn by chance agree with others of the same shares f of the classes in sum f^2 of all cases.
    """
    if job.judges.labels is None:
        return
    chance = float(np.square(np.bincount(job.judges.labels[job.judge_rows]) / len(job.judge_rows)).sum())
    bound = chance + 3 * math.sqrt(chance * (1 - chance) / len(job.judge_rows))
    if score < 100 and score / 100 <= (bound if bound < 1 else chance):
        raise Stop(
            f"{job.judges.path}: the original is right for {score:.1f} % of {len(job.judge_rows)} samples, no better "
            "than guessing: labels in another order, or another --preprocess?"
        )


def run(args: argparse.Namespace, recipe: Recipe, group: Group) -> None:
    """Train from the checkpoint or the start, and write the result."""
    if not args.output.is_dir():
        raise Stop(f"--output {args.output}: no such folder")
    network = read_network(FOLDER, "model", WEIGHTS).to(args.device)
    freeze_the_rest(network, recipe)
    job = open_job(args, recipe, group)
    read = read_ahead(job.samples, job.batches(0)[:CALIBRATION_BATCHES])
    first = [job.samples.on_device(stored, args.device) for stored, _ in read]
    job = replace(job, at_once=batch_of(network, first[0], recipe))
    if not all(spec["classes"] for spec in trained_outputs(recipe)):
        job = replace(job, weights=feature_weights(job.targets(inputs) for inputs in first))
    scaler = torch.amp.GradScaler(args.device, enabled=args.precision == "fp16")
    training = Training(network, copy.deepcopy(network), optimizer_for(network, args), scaler)
    checkpoint = Checkpoint(args.output / CHECKPOINT, FOLDER / WEIGHTS, job.rows, args, group)
    if args.restart or not checkpoint.restore(training):
        prepare(training, job, first)
    wrapped = group.wrapped(network)
    if not training.rate:
        training.rate = args.lr or rate_by_trial(training, wrapped, job)
    train(training, wrapped, job, checkpoint.save)
    if group.rank == 0:
        network.load_state_dict(training.best)
        finish(network.cpu().eval(), training, job)
        checkpoint.path.unlink(missing_ok=True)


def finish(network: nn.Module, training: Training, job: Job) -> None:
    """Write the result and its figures."""
    size = job.recipe["inputs"][0]["shape"][0] or CHECKED_SAMPLES
    stored, _ = job.judges.read(np.resize(job.judge_rows, size))
    target = job.args.output / RESULT
    error = write_back(network, job.recipe, FOLDER / "model.onnx", target, job.judges.on_device(stored, "cpu"))
    judged = {"validation_percent": training.scores, "validation_samples": len(job.judge_rows)}
    figures = {**judged, "rate": training.rate, "trials": training.trials, "error": error}
    (job.args.output / FIGURES).write_text(json.dumps(figures, indent=2) + "\n")
    job.group.say(f"{target}: {training.scores['best']:.2f} %, within {error:.1e} of the trained network")


def main() -> int:
    """Return the exit code."""
    recipe = json.loads((FOLDER / "finetune.json").read_text())
    args = options(recipe)
    args.precision = resolved_precision(args)
    group = Group.join(args.device)
    try:
        run(args, recipe, group)
    except Stop as stop:
        if group.rank == 0:
            print(f"finetune: {stop}", file=sys.stderr)
        return int(stop.code)
    except KeyboardInterrupt:
        print("finetune: interrupted; the same command continues", file=sys.stderr)
        return 130
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
