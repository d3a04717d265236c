"""Bundles to check: compiled on the null target, given an engine of ONNX Runtime, and forged."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from oracle import RULES
from small import TILES, Silent, network

from passes.fold_batchnorm import FoldBatchnorm
from passes.fold_constants import FoldConstants
from passes.prune import Prune
from passes.rematch import Rematch
from toolchain.budget import Budget
from toolchain.compile import compile_model
from toolchain.emit.bundle import CHECKSUMS, MANIFEST, REPORT, write_checksums
from toolchain.emit.manifest import EngineEntry, Manifest, file_entries
from toolchain.emit.report import Report, TargetFigure
from toolchain.request import CompileRequest
from toolchain.targets.onnxruntime import Onnxruntime
from toolchain.verify.run import VerifyRequest, verify_bundle
from toolchain.verify.verification import Verification

CATALOGUE = {item.name(): item for item in (FoldConstants, FoldBatchnorm, Prune, Rematch)}
HERE = Onnxruntime(threads=1)


def compile_request(folder: Path, model: onnx.ModelProto, **changes: Any) -> CompileRequest:
    """Save a model as source.onnx and ask for its bundle beside it, on the formula."""
    onnx.save(model, folder / "source.onnx")
    given = {
        "model": folder / "source.onnx",
        "output": folder / "build",
        "passes": [FoldConstants(), Prune()],
        "target": TILES,
        "rules": RULES,
        "budget": Budget(ratio=0.6),
        "command": "prunec compile source.onnx --budget 60%",
    }
    return CompileRequest(**{**given, **changes})


def run_compile(wanted: CompileRequest) -> Report:
    """Compile without a word."""
    return compile_model(wanted, Silent(), lambda _: None)


def null_bundle(folder: Path, *, seed: int = 0, passes: Sequence[Any] = (), **changes: Any) -> Path:
    """Compile the small network and return the bundle."""
    wanted = compile_request(folder, network(batch="N", seed=seed), **changes)
    run_compile(replace(wanted, passes=passes) if passes else wanted)
    return folder / "build"


def runtime_bundle(folder: Path, bundle: Path) -> Path:
    """Copy a bundle of the null target and give it the engine of ONNX Runtime, papers included."""
    shutil.copytree(bundle, folder / "build")
    shutil.copyfile(bundle.parent / "source.onnx", folder / "source.onnx")
    place_engine(folder / "build", onnx.load(bundle / "model.onnx"))
    return folder / "build"


def place_engine(bundle: Path, model: onnx.ModelProto) -> None:
    """Replace the engine by one of ONNX Runtime for any model, and write what is true of it into the papers."""
    engine = HERE.build(model, bundle.parent / "engines")
    shutil.rmtree(bundle / "engine")
    (bundle / "engine").mkdir()
    shutil.copyfile(engine.path, bundle / "engine" / engine.path.name)
    figure = TargetFigure.of(HERE)
    entry = EngineEntry(
        path=f"engine/{engine.path.name}",
        sha256=engine.sha256,
        model_sha256=engine.model_sha256,
        target=figure,
        timed=True,
    )
    report = Report.model_validate_json((bundle / REPORT).read_text()).model_copy(update={"target": figure})
    (bundle / REPORT).write_text(report.model_dump_json())
    reseal(bundle, target=figure, engines=(entry,))


def manifest_of(bundle: Path) -> Manifest:
    """Read the manifest."""
    return Manifest.model_validate_json((bundle / MANIFEST).read_text())


def reseal(bundle: Path, **changes: Any) -> None:
    """Change the manifest, and make its hashes and the sums right again: what a careful forger would do."""
    manifest = manifest_of(bundle)
    for name in (MANIFEST, CHECKSUMS):
        (bundle / name).unlink()
    given = {"files": file_entries(bundle), **changes}
    (bundle / MANIFEST).write_text(manifest.model_copy(update=given).model_dump_json())
    write_checksums(bundle)


def verify(bundle: Path, **changes: Any) -> Verification:
    """Check a bundle with every pass known."""
    return verify_bundle(VerifyRequest(bundle, CATALOGUE, RULES, **changes), Silent())


def findings(verification: Verification) -> dict[str, str]:
    """Return how each check ended."""
    return {item.name: item.finding.value for item in verification.checks}
