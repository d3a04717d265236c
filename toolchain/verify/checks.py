"""The checks of a bundle: each returns what it found, and raises an error of this project where that is wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx

from toolchain.emit.manifest import Transform, parameter_entries
from toolchain.emit.markdown import first_of
from toolchain.engine_trial import allowance_of_engine, try_engine
from toolchain.errors import BundleError, EnvironmentMissing
from toolchain.graph.analysis import analyse
from toolchain.graph.deployment import deployment_binding
from toolchain.graph.hashing import model_sha256
from toolchain.graph.oracle import relative_error
from toolchain.graph.plan import inexact_reasons, parse_plan
from toolchain.measure.inputs import Sizes, difference
from toolchain.measure.timer import build_deployed
from toolchain.targets.engine import content_sha256
from toolchain.targets.onnxruntime import execute
from toolchain.trial import try_model
from toolchain.verify.embedding import compare_shipped
from toolchain.verify.subject import Subject, deployed_inputs, identity_of
from toolchain.verify.verification import Inexact

ENGINE_TOLERANCE = 0.05
"""An engine of lower precision is this close to its model, relative to the largest output; another model's is not."""

RUNTIME_DRIFT_MULTIPLE = 10.0
FOLD_TOLERANCE = 1e-3
AGAIN = "compile again"


def check_records(subject: Subject) -> str:
    """Report, plan and model are those of the manifest."""
    manifest, report = subject.manifest, subject.report
    plan = parse_plan((subject.folder / "plan.json").read_text())
    pairs = {
        "report.json names another original": (report.model_sha256, manifest.source_model_sha256),
        "plan.json is for another model": (plan.model_sha256, manifest.pruned_from_sha256),
        "model.onnx holds another model": (model_sha256(subject.model), manifest.model_sha256),
        "report.json names another target": (report.target, manifest.target),
    }
    for what, (found, expected) in pairs.items():
        if found != expected:
            raise BundleError(f"{what} than manifest.json", hint="files of several bundles were mixed; compile again")
    _check_shapes(subject)
    return f"{len(manifest.files)} files, {plan.removed_count} units removed, {report.outcome}"


def check_identity(subject: Subject) -> str:
    """This machine is the one on which the engine was built and timed."""
    found = subject.target.identity()
    if text := identity_of(subject.manifest.target).difference(found):
        raise EnvironmentMissing(
            f"the engine is for another machine: {text}",
            hint="compile on this machine, or give --any-machine to check what does not need it",
        )
    return f"{found.target} on {found.device}, {found.runtime}"


def check_engine_papers(subject: Subject) -> str:
    """Every engine's files are those that were built, and were built from model.onnx."""
    sources = subject.deployed_sha256s()
    for entry in (subject.engine_entry, *subject.manifest.engines):
        if content_sha256((subject.folder / entry.path).parent) != entry.sha256:
            raise BundleError(f"{entry.path} is not the engine that was built", hint=AGAIN)
        if entry.model_sha256 not in sources:
            raise BundleError(f"{entry.path} was built from another model than model.onnx", hint=AGAIN)
    return f"{', '.join(entry.path for entry in subject.manifest.engines)}: built from model.onnx"


def check_trial(subject: Subject, *, with_engine: bool) -> str:
    """Model and engine run in a process of their own: papers do not say whether they end, or crash their runtime."""
    tried = ["model.onnx"]
    try_model(subject.shipped, subject.rules, subject.binding)
    if with_engine and subject.target.executes:
        tried.append(subject.engine_entry.path)
        known = deployed_inputs(subject.manifest)
        found = try_engine(subject.target, subject.engine, Sizes(known=(known,)), allowance_of_engine(subject.engine))
        if text := difference(known, found):
            raise BundleError(f"{tried[-1]} takes other inputs than model.onnx: {text}", hint=AGAIN)
    return f"{', '.join(tried)}: run once apart, within bounds of time and memory"


def check_engine(subject: Subject) -> str:
    """The engine computes what model.onnx computes; a modelled one is made again and must be the same bytes."""
    if not subject.target.executes:
        return _check_modelled_engine(subject)
    expected = execute(subject.model, subject.feeds, False)
    with subject.target.runner(subject.engine) as runner:
        found = {name: np.array(value) for name, value in runner.infer(subject.feeds, check_inputs=False).items()}
    if found.keys() != expected.keys():
        raise BundleError(f"{subject.engine_entry.path} has other outputs than model.onnx", hint=AGAIN)
    tolerance = max(ENGINE_TOLERANCE, RUNTIME_DRIFT_MULTIPLE * (subject.report.runtime_drift or 0.0))
    error = relative_error(found, expected)
    if error > tolerance:
        raise BundleError(
            f"{subject.engine_entry.path} does not compute what model.onnx computes: "
            f"its outputs are {error:.1e} of the largest one away (allowed {tolerance:.0e})",
            hint=AGAIN,
        )
    return f"differs from model.onnx by {error:.1e} of the largest output"


def check_equivalence(subject: Subject) -> str | Inexact:
    """The shipped model equals the masked original that holds its weights; untouched weights are the original's.

    What the plan makes inexact by nature is found out anew: a bundle cannot claim it.
    """
    try_model(subject.source, subject.rules, deployment_binding(subject.source.original, subject.sizes, {}))
    if subject.manifest.equivalence is None:
        return _check_rewritten(subject)
    source, kept = subject.pruned_from(), subject.manifest.kept()
    _check_slices(subject, source)
    inexact = _inexact_reasons(subject, source)
    verdict = compare_shipped(source, subject.model, kept, subject.feeds, execute, inexact=bool(inexact))
    if verdict.wrong:
        raise BundleError(
            f"model.onnx differs from the masked original by {verdict.relative_error:.1e} of the largest output "
            f"(allowed {verdict.tolerance:.1e})",
            hint="do not ship it, and report this with the model",
        )
    if verdict.inexact:
        return Inexact(
            f"deviates from the masked original by {verdict.relative_error:.1e} of the largest output "
            f"({first_of(inexact)})"
        )
    power = "" if verdict.powered else ", but a wrong slice would not have shown"
    adjusted = sum(item.transform is Transform.ADJUSTED for item in subject.manifest.parameters)
    repaired = f" that holds its {adjusted} repaired parameters" if adjusted else ""
    return f"differs from the masked original{repaired} by {verdict.relative_error:.1e}{power}"


def _inexact_reasons(subject: Subject, source: onnx.ModelProto) -> tuple[str, ...]:
    """Return why the plan's cut is not exact; none where no such group lost anything."""
    allowed = any(("allow_inexact", str(True)) in item.options for item in subject.manifest.decisions)
    analysis = analyse(source, subject.rules, binding=subject.binding, allow_inexact=allowed)
    plan = parse_plan((subject.folder / "plan.json").read_text())
    return inexact_reasons(analysis, plan)


def _check_shapes(subject: Subject) -> None:
    """Hold the manifest's parameters against those of model.onnx."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in subject.model.graph.initializer}
    for item in subject.manifest.parameters:
        shape = shapes.get(item.name)
        gone = item.transform is Transform.REMOVED
        fits = shape is not None and all(
            part.axis < len(shape) and shape[part.axis] == len(part.kept) for part in item.slices
        )
        if fits == gone:
            raise BundleError(f"parameter '{item.name}' of model.onnx is not what the manifest says of it", hint=AGAIN)


def _check_slices(subject: Subject, source: onnx.ModelProto) -> None:
    """Hold every parameter of model.onnx against the slice of the original that it is said to be."""
    manifest = subject.manifest
    dims = {tensor.name: tuple(tensor.dims) for tensor in source.graph.initializer}
    for item in manifest.parameters:
        for part in item.slices:
            size = dims.get(item.name, ())[part.axis : part.axis + 1]
            if not size or any(not 0 <= position < size[0] for position in part.kept):
                raise BundleError(
                    f"the manifest takes slices of '{item.name}' that the original does not have", hint=AGAIN
                )
    for found, item in zip(
        parameter_entries(source, manifest.kept(), subject.model), manifest.parameters, strict=False
    ):
        if found != item:
            raise BundleError(
                f"parameter '{item.name}' of model.onnx is said to be {item.transform}, but is {found.transform}",
                hint=AGAIN,
            )


def _check_rewritten(subject: Subject) -> str:
    """Where nothing was pruned the model computes what the original computes."""
    expected = execute(subject.source.normalised, subject.feeds, False)
    error = relative_error(execute(subject.model, subject.feeds, False), expected)
    if error > FOLD_TOLERANCE:
        raise BundleError(
            f"nothing was pruned, yet model.onnx differs from the original by {error:.1e} of the largest output",
            hint="do not ship it",
        )
    return f"nothing was pruned; differs from the original by {error:.1e}"


def _check_modelled_engine(subject: Subject) -> str:
    entry = subject.engine_entry
    with tempfile.TemporaryDirectory(prefix="prunec-") as folder:
        again = build_deployed(subject.target, subject.model, subject.binding, Path(folder))
    if again.sha256 != entry.sha256:
        raise BundleError(f"{entry.path} is not what target {entry.target.name} makes of model.onnx", hint=AGAIN)
    return "made again: the same bytes"
