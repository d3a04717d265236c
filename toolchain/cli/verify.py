"""`prunec verify`: is this bundle what its papers say, and does it still do here what is asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.compose import load_passes, load_rules
from toolchain.cli.terminal import Terminal
from toolchain.data.preprocess import Preprocess
from toolchain.emit.bundle import replaced
from toolchain.errors import UsageError
from toolchain.verify.gates import AccuracyWish
from toolchain.verify.render import HEADINGS, render_junit, render_outputs, render_summary
from toolchain.verify.run import VerifyRequest, verify_bundle
from toolchain.verify.verification import Verification


def verify(
    bundle: Annotated[Path, typer.Argument(help="The folder that `prunec compile -o` wrote.")],
    original: Annotated[
        Path | None, typer.Option(help="The model it was compiled from; looked for where it was, by its hash.")
    ] = None,
    max_ratio: Annotated[
        float | None, typer.Option(min=0, help="Time engine and original here: largest ratio of latencies, 0.6.")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="Score the engine on --data: least accuracy, 90 for 90 %.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Samples, as for compile (a Python file is run as code).")] = None,
    preprocess: Annotated[str, typer.Option(help="As for compile.")] = "",
    metric: Annotated[str, typer.Option(help="auto, top1, top5, fidelity, or FILE.py:function.")] = "auto",
    sha256: Annotated[str, typer.Option(help="The hash that SHA256SUMS must have.")] = "",
    any_machine: Annotated[
        bool, typer.Option("--any-machine", help="Leave the engine alone: check what needs no particular machine.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws the inputs and the interval.")] = 0,
    junit: Annotated[Path | None, typer.Option(help="Write the checks as JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the checks as Markdown.")] = None,
    outputs: Annotated[Path | None, typer.Option(help="Write name=value lines (GITHUB_OUTPUT, dotenv).")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout.")] = False,
) -> None:
    """Check BUNDLE: hashes, papers, engine, equivalence; measure latency and accuracy anew where asked."""
    terminal = Terminal(quiet=json_output)
    request = VerifyRequest(
        bundle=bundle,
        catalogue=load_passes(),
        rules=load_rules(),
        checksums_sha256=sha256,
        original=original,
        largest_ratio=max_ratio,
        accuracy=_wish(min_accuracy, data, preprocess, metric),
        any_machine=any_machine,
        seed=seed,
    )
    if any_machine and (max_ratio is not None or min_accuracy is not None):
        raise UsageError("--any-machine leaves the engine alone, but a gate runs it", hint="leave one of them out")
    with terminal.live():
        verification = verify_bundle(request, terminal)
    renderings = ((junit, render_junit), (markdown, render_summary), (outputs, render_outputs))
    for path, render in renderings:
        if path is not None:
            with replaced(path) as temporary:
                temporary.write_text(render(verification), encoding="utf-8")
    _print(verification, terminal, json_output=json_output)
    raise typer.Exit(verification.exit_code)


def _wish(minimum: float | None, data: Path | None, preprocess: str, metric: str) -> AccuracyWish | None:
    if (minimum is None) != (data is None):
        missing = "--data" if data is None else "--min-accuracy"
        raise UsageError("accuracy needs both a floor and samples", hint=f"add {missing}")
    if minimum is None or data is None:
        return None
    return AccuracyWish(minimum, data, Preprocess.parse(preprocess) if preprocess else None, metric)


def _print(verification: Verification, terminal: Terminal, *, json_output: bool) -> None:
    if json_output:
        print(verification.model_dump_json(indent=2))
    else:
        terminal.table(HEADINGS, [(item.name, item.finding, item.text) for item in verification.checks])
        terminal.line(f"{verification.bundle}: {verification.outcome}")
    if failure := verification.failure:
        terminal.error(f"{failure.name}: {failure.text}")
