"""The outside baseline: Torch-Pruning on the same network, at the same measured latency.

    python tests/bench/torch_pruning_baseline.py MODEL.onnx DATA.npz [--preprocess ...] [--budgets 80,60] [--ratio ...]

The network is the PyTorch module written from the ONNX file. Torch-Pruning (magnitude, Taylor, group norm; with and
without rounding widths to 16) cuts it at a rate that is bisected until the exported ONNX file, timed like any
candidate of `prunec compile`, is within the budget. Layers whose cut leaves a network that does not run (zero-padded
shortcuts) are left whole, as a user of it would do by `ignored_layers`. Accuracy is without training, on the samples
that judge.
Needs `pip install --no-deps torch-pruning==1.6.1`.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from toolchain.cli.compose import load_emitters
from toolchain.data.accuracy import Accuracy, Subset
from toolchain.data.interface import ModelInterface
from toolchain.data.open_data import open_data
from toolchain.data.open_metric import open_metric
from toolchain.data.preprocess import Preprocess
from toolchain.data.split import split
from toolchain.emit.torch_module.instance import instantiate
from toolchain.emit.torch_module.module import TorchModule, write_torch_module
from toolchain.graph.deployment import deployment_binding
from toolchain.graph.load import load_model
from toolchain.measure.care import Care
from toolchain.measure.comparison import Comparison
from toolchain.measure.lock import device_lock
from toolchain.measure.timer import EngineTimer
from toolchain.targets.registry import create

RESULTS = Path(__file__).parent / "results" / "torch_pruning.json"
METHODS = ("magnitude", "taylor", "group norm")
ROUNDINGS = (None, 16)
OPSET = 17


@dataclass(frozen=True)
class Row:
    """One network cut by one method to one budget; `why` says what went wrong where there is no figure."""

    network: str
    method: str
    round_to: int | None
    budget: float
    rate: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    accuracy_before: float | None = None
    accuracy: float | None = None
    engines: int = 0
    why: str = ""


@dataclass(frozen=True, eq=False)
class Bench:
    """A network with what is needed to cut, export, time and judge it."""

    name: str
    written: TorchModule
    accuracy: Accuracy
    timer: EngineTimer
    before: float
    whole: frozenset[str]
    """Layers that are not cut."""

    def row(self, method: str, round_to: int | None, budget: float, steps: int) -> Row:
        """Bisect the rate; the result is the least rate tried whose engine is within the budget."""
        low, high, best, engines = 0.0, 1.0, None, 0
        for _ in range(steps):
            rate = (low + high) / 2
            try:
                model = self._cut(method, round_to, rate)
            except (RuntimeError, ValueError, IndexError, AttributeError, KeyError) as error:  # whatever it stumbles on
                why = f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"
                return Row(self.name, method, round_to, budget, rate, why=why)
            engines += 1
            found = self.timer.compare(model)
            print(
                f"{method}, round to {round_to}: rate {rate:.3f}, ratio {found.ratio:.3f}", file=sys.stderr, flush=True
            )
            if found.high <= budget:
                high, best = rate, (rate, model)
            else:
                low = rate
        if best is None:
            return Row(self.name, method, round_to, budget, engines=engines, why="no rate is within the budget")
        return self._judged(Row(self.name, method, round_to, budget, best[0], engines=engines), best[1])

    def _judged(self, row: Row, model: onnx.ModelProto) -> Row:
        final: Comparison = self.timer.compare(model, Care.FINAL)
        score = self.accuracy.of(model, self.timer)
        figures = {"ratio": final.ratio, "low": final.low, "high": final.high}
        return Row(**{**asdict(row), **figures, "accuracy_before": self.before, "accuracy": score.value})

    def _cut(self, method: str, round_to: int | None, rate: float) -> onnx.ModelProto:
        network = instantiate(self.written).requires_grad_(True)
        feeds = self.accuracy.calibrating.data.batch(self.accuracy.calibrating.indices[:1]).feeds
        example = torch.from_numpy(np.array(next(iter(feeds.values()))))
        classes = self.accuracy.judging.data.interface.class_output
        whole = _whole(network, classes.classes if classes else None, self.whole)
        pruner = _pruner(network, example, method, round_to, rate, whole)
        if method == "taylor":
            for images, labels in self._batches():
                functional.cross_entropy(network(images), labels).backward()
        pruner.step()
        return _exported(network.eval(), example, self.accuracy.judging.data.interface)

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in self.accuracy.calibrating.batches():
            yield torch.from_numpy(np.array(next(iter(batch.feeds.values())))), torch.from_numpy(np.array(batch.labels))


def _whole(network: torch.nn.Module, classes: int | None, names: frozenset[str]) -> list[torch.nn.Module]:
    """Return the classifier, and the layers of these names."""
    heads = [item for item in network.modules() if isinstance(item, torch.nn.Linear) and item.out_features == classes]
    return heads + [item for name, item in network.named_modules() if name in names]


def _not_survived(written: TorchModule, example: torch.Tensor, classes: int | None) -> frozenset[str]:
    """Cut one group after the other, each in a new network; return the layers of those after which it does not run."""
    found: set[str] = set()
    for number in count():
        network = instantiate(written).requires_grad_(True)  # its graph is that of autograd
        names = {module: name for name, module in network.named_modules()}
        pruner = _pruner(network, example, "magnitude", None, 0.5, _whole(network, classes, frozenset()))
        group = next(islice(pruner.step(interactive=True), number, None), None)
        if group is None:
            return frozenset(found)
        group.prune()
        try:
            network(example)
        except (RuntimeError, ValueError, IndexError):
            makers = [item.dep for item in group if "out_channels" in item.dep.handler.__name__]
            found.update(names[maker.target.module] for maker in makers if maker.target.module in names)
    raise AssertionError("groups do not end")


def _pruner(
    network: torch.nn.Module,
    example: torch.Tensor,
    method: str,
    round_to: int | None,
    rate: float,
    whole: list[torch.nn.Module],
) -> Any:
    import torch_pruning as tp

    importance = {
        "magnitude": tp.importance.GroupMagnitudeImportance(p=1, group_reduction="first", normalizer=None),
        "taylor": tp.importance.GroupTaylorImportance(),
        "group norm": tp.importance.GroupMagnitudeImportance(p=2, group_reduction="mean", normalizer="mean"),
    }[method]
    return tp.pruner.BasePruner(
        network,
        example,
        importance,
        global_pruning=method != "magnitude",  # bare norms do not compare between layers
        pruning_ratio=rate,
        max_pruning_ratio=0.9,
        round_to=round_to,
        ignored_layers=whole,
    )


def _exported(network: torch.nn.Module, example: torch.Tensor, interface: ModelInterface) -> onnx.ModelProto:
    inputs, outputs = [item.name for item in interface.inputs], [item.name for item in interface.outputs]
    axes = None if interface.batch_size else {name: {0: "N"} for name in (*inputs, *outputs)}
    stream = io.BytesIO()
    torch.onnx.export(
        network,
        (example,),
        stream,
        dynamo=False,
        opset_version=OPSET,
        input_names=inputs,
        output_names=outputs,
        dynamic_axes=axes,
    )
    return onnx.load_from_string(stream.getvalue())


def _bench(arguments: argparse.Namespace, folder: Path) -> Bench:
    loaded = load_model(arguments.model)
    interface = ModelInterface.of(loaded.normalised)
    data = open_data(
        arguments.data, interface, Preprocess.parse(arguments.preprocess) if arguments.preprocess else None
    )
    parts = split(len(data), None, None, np.random.default_rng(0), data.labels)
    judging, calibrating = Subset(data, parts.evaluation), Subset(data, parts.calibration)
    if arguments.calibration_data:
        other = open_data(arguments.calibration_data, interface, data.preprocess)
        judging, calibrating = Subset(data, np.arange(len(data))), Subset(other, np.arange(len(other)))
    accuracy = Accuracy(judging, calibrating, open_metric("auto", interface, data.labels), loaded.normalised)
    feeds = calibrating.cycled(interface.batch_size or 1).feeds
    binding = deployment_binding(loaded.normalised, {}, {name: value.shape for name, value in feeds.items()})
    target = create("onnxruntime", "")
    timer = EngineTimer.start(target, loaded.original, feeds, binding, folder, np.random.default_rng(0))
    written = write_torch_module(loaded.normalised, load_emitters(), batchnorm=False)
    before = accuracy.of(loaded.original, timer).value
    classes = interface.class_output
    example = torch.from_numpy(np.array(next(iter(feeds.values()))))
    whole = _not_survived(written, example, classes.classes if classes else None)
    print(f"left whole: {', '.join(sorted(whole)) or 'nothing'}", file=sys.stderr)
    return Bench(arguments.model.stem, written, accuracy, timer, before, whole)


def _print(rows: list[Row]) -> None:
    table = Table("network", "method", "round to", "budget", "rate", "measured", "accuracy, no training", "engines")
    for row in rows:
        cells = [row.network, row.method, str(row.round_to or "-"), f"{row.budget:.0%}"]
        if row.ratio is None:
            table.add_row(*cells, "", row.why, "", str(row.engines))
            continue
        interval = f"{100 * row.ratio:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        accuracy = f"{row.accuracy_before:.2f} -> {row.accuracy:.2f}"
        table.add_row(*cells, f"{row.rate:.3f}", interval, accuracy, str(row.engines))
    Console(width=150).print(table)


def main() -> None:
    """Cut, time, judge; print the table and keep the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--preprocess", default="")
    parser.add_argument("--calibration-data", type=Path, help="samples for Taylor, so that all of DATA judge")
    parser.add_argument("--budgets", default="60", help="percent of the original's latency, by commas")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--steps", type=int, default=6, help="of the bisection of the rate")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        target = create("onnxruntime", "")
        with device_lock(target.identity().device, lambda text: print(text, file=sys.stderr)):
            bench = _bench(arguments, Path(folder))
            for budget in arguments.budgets.split(","):
                for method in arguments.methods.split(","):
                    rows += [
                        bench.row(method, rounding, float(budget) / 100, arguments.steps) for rounding in ROUNDINGS
                    ]
    rows = _with_earlier(rows)
    _print(rows)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _with_earlier(rows: list[Row]) -> list[Row]:
    """Put new rows in the place of those that answered the same question before."""
    earlier = [Row(**item) for item in json.loads(RESULTS.read_text())] if RESULTS.exists() else []
    known = {(row.network, row.method, row.round_to or 0, row.budget): row for row in (*earlier, *rows)}
    return [known[key] for key in sorted(known)]


if __name__ == "__main__":
    main()
