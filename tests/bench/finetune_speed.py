"""The step time of the emitted script against a hand-written loop: `python tests/bench/finetune_speed.py MODEL.onnx`.

Both train the same module on the same batches in memory, imitating the same teacher: forward, backward, clipping, SGD,
moving average. Steps of the two alternate, so that whatever else the machine does is shared; target within 5 %.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import kl_div, log_softmax, softmax

from toolchain.cli.compose import load_emitters
from toolchain.emit.finetune.files import write_training_files
from toolchain.graph.normalise import normalise

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=ROOT / "models" / "digits_resnet.onnx")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = normalise(onnx.load(given.model))
        onnx.save(model, folder / "model.onnx")
        write_training_files(folder, model, model, load_emitters())
        sys.path.insert(0, name)
        os.chdir(folder)
        script, loop = _steps(folder, model, given.batch_size, given.steps)
    _print(given.model.stem, script, loop)


def _steps(folder: Path, model: onnx.ModelProto, batch_size: int, steps: int) -> tuple[list[float], list[float]]:
    import finetune
    import finetune_data

    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    x = np.random.default_rng(0).standard_normal((batch_size * 4, *shape)).astype(np.float32)
    np.savez(folder / "data.npz", x=x)
    sys.argv = ["finetune.py", "--data", "data.npz", "--batch-size", str(batch_size), "--epochs", "1000"]
    recipe = json.loads((folder / "finetune.json").read_text())
    args = finetune.options(recipe)
    args.precision = "fp32"
    group = finetune.Group(0, 1)
    network = finetune.read_network(folder, "model", "weights.safetensors")
    finetune.freeze_the_rest(network, recipe)
    job = finetune.open_job(args, recipe, group)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    training = finetune.Training(network, copy.deepcopy(network), finetune.optimizer_for(network, args), scaler)
    finetune.set_training(network, recipe, frozen_batchnorm=False)
    loop = _HandWritten(copy.deepcopy(network), job.teacher, args)
    batches = [job.rows[start : start + batch_size] for start in (0, batch_size, 2 * batch_size)]
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(steps + 3):
        stored, labels = next(finetune_data.read_ahead(job.samples, [batches[number % 3]]))
        started = time.perf_counter()
        float(finetune.take_step(training, network, job, stored, labels))
        between = time.perf_counter()
        float(loop.step(torch.from_numpy(x[batches[number % 3]])))
        ended = time.perf_counter()
        if number >= 3:
            times[0].append(between - started)
            times[1].append(ended - between)
    return times


class _HandWritten:
    """What one would write for this network alone."""

    def __init__(self, network: torch.nn.Module, teacher: torch.nn.Module, args: argparse.Namespace) -> None:
        self.network, self.teacher, self.clip, self.decay = network, teacher, args.clip, args.ema
        self.average = copy.deepcopy(network)
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=args.weight_decay
        )

    def step(self, x: torch.Tensor) -> torch.Tensor:
        """Imitate the teacher on one batch."""
        with torch.no_grad():
            target = softmax(self.teacher(x) / 4, 1)
        loss = 16 * kl_div(log_softmax(self.network(x) / 4, 1), target, reduction="batchmean")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if slow.is_floating_point():
                    slow.lerp_(fast, 1 - self.decay)
        return loss.detach()


def _print(name: str, script: list[float], loop: list[float]) -> None:
    ratios = sorted(one / two for one, two in zip(script, loop, strict=True))
    table = Table("network", "script_ms", "hand-written_ms", "ratio", "middle half of ratios")
    quarter = len(ratios) // 4
    table.add_row(
        name,
        f"{1000 * statistics.median(script):.1f}",
        f"{1000 * statistics.median(loop):.1f}",
        f"{statistics.median(ratios):.3f}",
        f"{ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}",
    )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
