"""`prunec compile`: from an ONNX file to a bundle."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from toolchain.budget import parse_budget, parse_budgets
from toolchain.cli.compose import load_emitters, load_passes, load_rules
from toolchain.cli.front import print_front
from toolchain.cli.terminal import Terminal
from toolchain.compile import compile_front, compile_model, compile_within
from toolchain.data.preprocess import Preprocess
from toolchain.emit.advice import advice_of
from toolchain.emit.markdown import HEADINGS, pass_row
from toolchain.emit.report import Report
from toolchain.errors import UsageError
from toolchain.finetuning import parse_finetune
from toolchain.graph.deployment import parse_input_shapes
from toolchain.pipeline.contract import Pass
from toolchain.pipeline.parse import PRESETS, make_pass, parse_passes, read_pipeline
from toolchain.request import CompileRequest
from toolchain.targets import registry as targets
from toolchain.targets.contract import Target


def compile_command(
    model: Annotated[Path, typer.Argument(help="The trained network, an ONNX file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle's folder.")] = Path("build"),
    budget: Annotated[str, typer.Option(help="Latency to reach: 60% of the original's, or 4.5ms.")] = "",
    macs: Annotated[str, typer.Option(help="Multiply-accumulates to reach, 50% of the original's.")] = "",
    params: Annotated[str, typer.Option(help="Parameters to reach, 50% of the original's.")] = "",
    pareto: Annotated[str, typer.Option(help="Several latencies, 80,70,60%: one bundle each below --output.")] = "",
    max_accuracy_drop: Annotated[
        float | None, typer.Option(min=0, help="Instead of a budget: the fastest that loses at most this, in points.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Samples: an .npz, a folder of class folders, or a Python file (run as code)."),
    ] = None,
    preprocess: Annotated[str, typer.Option(help="resize=256,crop=224,scale=1/255,mean=...,std=...")] = "",
    metric: Annotated[str, typer.Option(help="auto, top1, top5, fidelity, or FILE.py:function.")] = "auto",
    target: Annotated[str, typer.Option(help="Where the engine runs; auto takes the best one here.")] = "auto",
    target_options: Annotated[str, typer.Option(help="Options of the target, e.g. threads=1.")] = "",
    also_build: Annotated[
        list[str] | None,
        typer.Option(help="Add another engine, built but not timed: tensorrt-rtx:compute_capabilities=8.9+12.0."),
    ] = None,
    strategy: Annotated[str, typer.Option(help="How the plan is chosen.")] = "",
    criterion: Annotated[str, typer.Option(help="What a unit's removal costs.")] = "",
    passes: Annotated[str, typer.Option(help="fold-constants,prune(strategy=greedy),... instead of a preset.")] = "",
    preset: Annotated[str, typer.Option(help=f"A named pipeline: {', '.join(PRESETS)}.")] = "default",
    config: Annotated[Path | None, typer.Option(help="A pipeline.toml, such as a bundle's.")] = None,
    finetune: Annotated[
        str | None,
        typer.Option(help='Then train: options of the bundle\'s finetune.py, "--epochs 5 --data train.npz".'),
    ] = None,
    latency_from: Annotated[
        Path | None, typer.Option(help="What `store export` wrote elsewhere: answers instead of timing layers.")
    ] = None,
    input_shapes: Annotated[str, typer.Option(help='Sizes when deployed: "x:[8,3,224,224]".')] = "",
    min_accuracy: Annotated[
        float | None, typer.Option(help="In the metric's unit, 98 for 98 %; a pass that falls below is rolled back.")
    ] = None,
    calibration_data: Annotated[
        Path | None, typer.Option(help="Samples to calibrate on, instead of a part of --data; labels are not used.")
    ] = None,
    calibration_samples: Annotated[int | None, typer.Option(help="Samples to calibrate on.")] = None,
    evaluation_samples: Annotated[int | None, typer.Option(help="Samples to judge on; never the same.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the samples and the intervals.")] = 0,
    allow_inexact: Annotated[
        bool,
        typer.Option("--allow-inexact", help="Prune also what only statistics tie, and measure how far that deviates."),
    ] = False,
    dump_dir: Annotated[Path | None, typer.Option(help="Write the model after each pass here.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Search and print the plan; write nothing.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print report.json alone to stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Prune MODEL to a latency budget; build, time and verify the engine; write the bundle."""
    terminal = Terminal(quiet=quiet)
    inexact = {"allow_inexact": "true"} if allow_inexact else {}
    request = CompileRequest(
        model=model,
        output=output,
        passes=_passes(passes, preset, config, {"strategy": strategy, "criterion": criterion, **inexact}),
        target=targets.create(target, target_options),
        rules=load_rules(),
        emitters=load_emitters(),
        also_build=[_target_to_build(text) for text in also_build or []],
        budget=parse_budget(budget, macs=macs, parameters=params),
        data=data,
        preprocess=Preprocess.parse(preprocess) if preprocess else None,
        metric=metric,
        calibration_data=calibration_data,
        calibration_samples=calibration_samples,
        evaluation_samples=evaluation_samples,
        min_accuracy=min_accuracy,
        finetune=None if finetune is None else parse_finetune(finetune),
        latencies=latency_from,
        input_shapes=parse_input_shapes(input_shapes),
        dump_directory=dump_dir,
        dry_run=dry_run,
        seed=seed,
        command=shlex.join(["prunec", *sys.argv[1:]]),
    )
    goals = ["--pareto"] * bool(pareto) + ["--max-accuracy-drop"] * (max_accuracy_drop is not None)
    _check(request, goals)
    with terminal.live():
        if pareto:
            reports = compile_front(request, parse_budgets(pareto), terminal, terminal.record)
        elif max_accuracy_drop is not None:
            reports = [compile_within(request, max_accuracy_drop, terminal, terminal.record)]
        else:
            reports = [compile_model(request, terminal, terminal.record)]
    if pareto:
        print_front(reports, terminal, output, json_output=json_output)
    else:
        _print(reports[0], terminal, json_output=json_output, dry_run=dry_run, output=output)
    raise typer.Exit(max(report.exit_code for report in reports))


def _target_to_build(text: str) -> Target:
    name, _, options = text.partition(":")
    return targets.create(name, options, for_building=True)


def _passes(text: str, preset: str, config: Path | None, for_prune: Mapping[str, str]) -> list[Pass]:
    """Take the pipeline from --passes, --config or the preset; --strategy, --criterion and so on go to prune."""
    catalogue = load_passes()
    if text and config:
        raise UsageError("--passes and --config both name a pipeline", hint="give one of them")
    if preset not in PRESETS:
        raise UsageError(f"there is no preset '{preset}'", hint=f"presets are {', '.join(PRESETS)}")
    chosen = read_pipeline(config, catalogue) if config else parse_passes(text or PRESETS[preset], catalogue)
    given = {name: value for name, value in for_prune.items() if value}
    if given and not any(item.name() == "prune" for item in chosen):
        option = "--" + min(given).replace("_", "-")
        raise UsageError(f"{option} is for pass prune, which this pipeline does not have", hint="leave it out")
    return [
        make_pass("prune", {**item.options(), **given}, catalogue) if item.name() == "prune" else item
        for item in chosen
    ]


def _check(request: CompileRequest, goals: Sequence[str]) -> None:
    """Refuse at once what would only be found out after minutes, or never."""
    if not goals and request.budget is None and any(item.name() == "prune" for item in request.passes):
        raise UsageError("there is no budget", hint="add --budget 60%, or choose --preset fold")
    if len(goals) + (request.budget is not None) > 1:
        raise UsageError(f"{goals[0]} says itself how fast to become", hint="leave the other budgets out")
    if request.min_accuracy is not None and request.data is None:
        raise UsageError("--min-accuracy without data cannot be checked", hint="add --data")
    without_data = {
        "--metric": request.metric != "auto",
        "--preprocess": request.preprocess is not None,
        "--calibration-data": request.calibration_data is not None,
        "--calibration-samples": request.calibration_samples is not None,
        "--evaluation-samples": request.evaluation_samples is not None,
    }
    useless = [name for name, given in without_data.items() if given]
    if useless and request.data is None:
        raise UsageError(f"{useless[0]} says something about samples, but there are none", hint="add --data")


def _print(report: Report, terminal: Terminal, *, json_output: bool, dry_run: bool, output: Path) -> None:
    if json_output:
        print(report.model_dump_json(indent=2))
        return
    terminal.table(HEADINGS, [pass_row(item) for item in report.passes])
    if dry_run and report.pruning:
        rows = [
            (item.name, str(item.width_before), str(item.width_after))
            for item in report.pruning.groups
            if item.width_before != item.width_after
        ]
        terminal.table(("group", "before", "after"), rows, title="plan")
    for item in report.unknown:
        terminal.line(f"note: {item}")
    terminal.line(f"{report.outcome}: {report.message}")
    if advice := advice_of(report):
        terminal.line(f"note: {advice}")
    terminal.line("dry run: nothing was written" if dry_run else f"bundle: {output}")
