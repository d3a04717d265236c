"""`prunec build`: an engine from an ONNX file as it is."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.compose import load_rules
from toolchain.cli.terminal import Terminal
from toolchain.emit.bundle import check_file
from toolchain.emit.papers import papers_of, place_engine
from toolchain.emit.report import Frozen, TargetFigure
from toolchain.errors import UsageError
from toolchain.graph.deployment import bind_model, deployment_binding, parse_input_shapes
from toolchain.graph.load import load_model
from toolchain.measure.inputs import inputs_of
from toolchain.measure.lock import device_lock
from toolchain.targets import registry as targets
from toolchain.targets.contract import Target
from toolchain.trial import try_model


class BuiltFigure(Frozen):
    """What `build --json` prints."""

    path: str
    bytes: int
    sha256: str
    target: TargetFigure
    builds_ms: tuple[float, ...]
    """The median latency of each build the engine was chosen from; none where it is the only one."""


def build(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The engine file.")],
    target: Annotated[str, typer.Option(help="What the engine is for.")] = "auto",
    target_options: Annotated[str, typer.Option(help="Options of the target, e.g. threads=1.")] = "",
    compute_capability: Annotated[str, typer.Option(help="GPUs to build for, e.g. 8.9,12.0 (tensorrt-rtx).")] = "",
    builds: Annotated[int, typer.Option(min=1, help="Build so often, keep the fastest (tensorrt).")] = 1,
    input_shapes: Annotated[str, typer.Option(help='Sizes when deployed: "x:[8,3,224,224]".')] = "",
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout.")] = False,
) -> None:
    """Build MODEL's engine without pruning or timing; tensorrt-rtx needs no GPU for it."""
    terminal = Terminal(quiet=json_output)
    options = [target_options] if target_options else []
    if compute_capability:
        options.append(f"compute_capabilities={'+'.join(part.strip() for part in compute_capability.split(','))}")
    chosen = targets.create(target, ",".join(options), for_building=True)
    if builds > 1:
        _require_varying(chosen, builds)
        chosen = targets.create(chosen.name, ",".join([*options, f"builds={builds}"]), for_building=True)
    check_file(output)
    loaded = load_model(model)
    if chosen.executes:
        try_model(loaded, load_rules(), binding=None)
    source = loaded.original
    if chosen.needs_fixed_sizes:
        source = bind_model(source, deployment_binding(source, parse_input_shapes(input_shapes), {}))
    with (
        terminal.live(),
        tempfile.TemporaryDirectory(prefix="prunec-") as folder,
        device_lock(chosen.identity().device, terminal.progress) if builds > 1 else nullcontext(),
    ):
        terminal.progress(f"building for {chosen.name}")
        engine = chosen.build(source, Path(folder))
        size = sum(path.stat().st_size for path in engine.files)
        builds_ms = engine.builds_ms
        place_engine(engine, output, inputs_of(source, {}) if chosen.needs_fixed_sizes else ())
    if json_output:
        figure = BuiltFigure(
            path=str(output),
            bytes=size,
            sha256=engine.sha256,
            target=TargetFigure.of(chosen),
            builds_ms=builds_ms,
        )
        print(figure.model_dump_json(indent=2))
        return
    timed = f"kept of builds of {', '.join(f'{ms:.3g}' for ms in builds_ms)} ms" if builds_ms else "built, not timed"
    terminal.line(f"{output}: {size:,} bytes for {chosen.name}, sha256 {engine.sha256}; {timed}")
    if output.is_file():
        terminal.line(f"{papers_of(output)}: its papers, for `prunec bench`")


def _require_varying(target: Target, builds: int) -> None:
    """Refuse to build the same several times."""
    if "builds" not in dict(target.options):
        what = f"--builds {builds}: target {target.name} does not choose kernels by timing, so its builds are all alike"
        raise UsageError(what, hint="leave --builds out")
