"""What `joint` is made of, measured: `python tests/bench/joint.py [--networks digits_resnet,...] [--budgets 60%]`.

1. The exact choice on ResNet-50 at 224 (latencies counted, not timed): size, gap, seconds for each budget.
2. Compiles, one ingredient left out at a time: measured ratio, accuracy without training, engines, minutes, and what
   the search says of its programmes, its predictions and what regrowing won.

Networks besides digits_resnet need the data folder; calibration takes training images, accuracy a test split.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from trained import Compiled, Trained, compiled, trained

from models.export import export
from models.registry import networks
from passes.criteria.l2 import L2
from toolchain.cli.compose import load_rules
from toolchain.graph.analysis import analyse
from toolchain.graph.cost import CostModel
from toolchain.graph.hashing import model_sha256
from toolchain.graph.load import load_model
from toolchain.graph.removable import removable_branches
from toolchain.latency.stair_macs import StairMacs
from toolchain.measure.comparison import Comparison
from toolchain.pipeline.parse import PRESETS
from toolchain.strategies.contract import Limits, Problem
from toolchain.strategies.exact.instance import Model
from toolchain.strategies.exact.losses import Losses
from toolchain.strategies.exact.milp import solve
from toolchain.strategies.joint import Joint, candidate_widths
from toolchain.targets.contract import Alignment

RESULTS = Path(__file__).parent / "results" / "joint.json"
RATIOS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
ALIGNMENT = Alignment(preferred=16, least=4)
VARIANTS = {
    "joint": "",
    "no steps": "steps=no",
    "no pairs": "pairs=no",
    "no branches": "blocks=no",
    "no measured losses": "probes=0",
    "no repaired networks": "probes=0;judged=no",
    "no regrowing": "regrow=no",
    "two rounds": "rounds=2",
    "four rounds": "rounds=4",
}


@dataclass(frozen=True)
class Solved:
    """One solution of the programme."""

    ratio: float
    groups: int
    binaries: int
    pairs: int
    gap: float
    seconds: float


@dataclass(frozen=True)
class Ablated(Compiled):
    """One compile without an ingredient."""

    variant: str
    engines: int
    notes: tuple[str, ...]


def main() -> None:
    """Measure both parts, print their tables, keep them as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--networks", default="digits_resnet,resnet20,resnet56")
    parser.add_argument("--budgets", default="60%")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="which rows of the ablation")
    parser.add_argument("--solver-only", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        solved = solver_figures(Path(folder))
        show("exact choice, ResNet-50", solved)
        rows = []
        if not arguments.solver_only:
            rows = ablation(Path(folder), *(getattr(arguments, name).split(",") for name in AXES))
            show("ablation", rows)
    found = {"solver": [asdict(item) for item in solved], "ablation": [asdict(item) for item in rows]}
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**kept, **{name: items for name, items in found.items() if items}}, indent=2) + "\n")


AXES = ("networks", "budgets", "variants")


def solver_figures(folder: Path) -> list[Solved]:
    """Solve ResNet-50 for several budgets."""
    problem = resnet50_problem(folder)
    latency = problem.latency
    candidates = candidate_widths(Joint(), problem)
    model = Model.of(problem, latency.blocks, candidates)
    losses = Losses.of(problem, candidates, problem.importance).table()
    found = []
    for ratio in RATIOS:
        instance = model.instance(latency, lambda name, width: losses[name, width], ratio)
        solution = solve(instance)
        if solution is None:
            continue
        pairs = sum(pair.cost[0].size for pair in instance.pairs)
        binaries = sum(len(choice.widths) for choice in instance.choices)
        found.append(Solved(ratio, len(candidates), binaries, pairs, solution.gap, solution.seconds))
    return found


def resnet50_problem(folder: Path) -> Problem:
    """Return ResNet-50 with random weights; nothing is built or timed."""
    network = networks()["resnet50"]
    export(network.build().eval(), torch.zeros(1, *network.input_shape), folder / "resnet50.onnx")
    model = load_model(folder / "resnet50.onnx").normalised
    analysis = analyse(model, load_rules())
    cost_model = CostModel(analysis, load_rules())

    def refuse(*_: object) -> Comparison:
        raise NotImplementedError("nothing is timed here")

    return Problem(
        analysis=analysis,
        model_sha256=model_sha256(model),
        importance=L2().scores(analysis, None),
        cost_model=cost_model,
        alignment=ALIGNMENT,
        branches=removable_branches(analysis),
        limits=Limits(1.0),
        time_plan=refuse,
        make_latency=lambda: StairMacs(analysis, load_rules(), ALIGNMENT.preferred, 1.0),
        score=lambda *_: {},
        divergence=None,
        progress=print,
        generator=np.random.default_rng(0),
    )


def ablation(folder: Path, names: list[str], budgets: Sequence[str], variants: Sequence[str]) -> list[Ablated]:
    """Compile every network to every budget in every variant; one that fails is left out, and the tool says why."""
    cases = [(net, budget, variant) for net in trained(names, folder) for budget in budgets for variant in variants]
    found = [ablated(*case, folder) for case in cases]
    return [item for item in found if item is not None]


def ablated(network: Trained, budget: str, variant: str, folder: Path) -> Ablated | None:
    """Run the command line."""
    options = f",strategy_options={VARIANTS[variant]}" if VARIANTS[variant] else ""
    pipeline = PRESETS["default"].replace("prune", f"prune(strategy=joint{options})", 1)
    bundle = folder / f"{network.name}-{budget.rstrip('%')}-{variant.replace(' ', '-')}"
    answer = compiled(network, budget, bundle, "--passes", pipeline)
    if answer is None:
        return None
    made, report = answer
    return Ablated(
        **asdict(made),
        variant=variant,
        engines=len(report["pruning"]["trials"]),
        notes=tuple(note for item in report["passes"] if item["name"] == "prune" for note in item["notes"]),
    )


def show(title: str, rows: Sequence[Solved] | Sequence[Ablated]) -> None:
    """Print a table, a column for each field."""
    if not rows:
        return
    table = Table(*asdict(rows[0]), title=title)
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in asdict(row).values()))
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
