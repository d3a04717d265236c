"""`manifest.json`: where everything in the bundle comes from, in enough detail to check it all again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import numpy_helper

from toolchain.emit.report import Environment, EquivalenceFigure, Frozen, TargetFigure
from toolchain.graph.hashing import file_sha256
from toolchain.graph.oracle import Feeds
from toolchain.graph.surgery import KeptAxes
from toolchain.pipeline.contract import Pass
from toolchain.pipeline.record import Record

SCHEMA_VERSION: Literal[1] = 1


class FileEntry(Frozen):
    """A file of the bundle."""

    path: str
    bytes: int
    sha256: str


class EngineEntry(Frozen):
    """An engine of the bundle: its main file, the hash of all its files, what it was built from and for."""

    path: str
    sha256: str
    model_sha256: str
    """Content hash of the model it was built from: model.onnx, its symbolic sizes fixed where the target needs that."""
    target: TargetFigure
    timed: bool
    builds_ms: tuple[float, ...] = ()
    """The median latency of each build it was chosen from; none where it is the only one."""


class Transform(StrEnum):
    """How a shipped parameter came from the source parameter of the same name."""

    TAKEN = "taken"
    """The slices as they are."""
    ADJUSTED = "adjusted"
    """The slices with new values: a pass repaired the weights."""
    MADE = "made"
    """There is no such source parameter: a shape constant, or what is left of a removed branch."""
    REMOVED = "removed"
    """It went with its branch."""


class Slice(Frozen):
    """The positions along an axis of the source parameter that are left, in order."""

    axis: int
    kept: tuple[int, ...]


class ParameterEntry(Frozen):
    """A parameter of the source or of the shipped model; axes without a slice are whole."""

    name: str
    transform: Transform
    slices: tuple[Slice, ...] = ()


class Decision(Frozen):
    """What became of a pass, with all its options."""

    name: str
    options: tuple[tuple[str, str], ...]
    status: str
    reason: str
    notes: tuple[str, ...]


class InputFigure(Frozen):
    """A graph input at the size it was deployed and timed at."""

    name: str
    data_type: str
    shape: tuple[int, ...]


class Samples(Frozen):
    """The raw samples behind one row of the report, in the order they were taken."""

    name: str
    baseline_ms: tuple[float, ...]
    candidate_ms: tuple[float, ...]
    round_ratios: tuple[float, ...]


class Manifest(Frozen):
    """Hashes, provenance, decisions, raw samples."""

    schema_version: Literal[1] = SCHEMA_VERSION
    source_model_sha256: str
    """Hash of the file that was compiled."""
    pruned_from_sha256: str
    """Content hash of the model that the slices refer to: the source after the passes before pruning."""
    model_sha256: str
    """Content hash of model.onnx."""
    command: str
    flags: tuple[tuple[str, str], ...]
    """What the compile was asked for, defaults included."""
    target: TargetFigure
    environment: Environment
    inputs: tuple[InputFigure, ...]
    decisions: tuple[Decision, ...]
    engines: tuple[EngineEntry, ...]
    files: tuple[FileEntry, ...]
    parameters: tuple[ParameterEntry, ...]
    equivalence: EquivalenceFigure | None
    """The shipped weights, put back into the source and masked, against model.onnx; None where nothing was pruned."""
    samples: tuple[Samples, ...]

    def kept(self) -> dict[str, KeptAxes]:
        """Return what surgery kept, as the mask oracle reads it."""
        return {
            item.name: {part.axis: np.array(part.kept, dtype=np.int64) for part in item.slices}
            for item in self.parameters
            if item.slices
        }


def file_entries(directory: Path) -> tuple[FileEntry, ...]:
    """Describe every file that is there now."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return tuple(
        FileEntry(path=path.relative_to(directory).as_posix(), bytes=path.stat().st_size, sha256=file_sha256(path))
        for path in files
    )


def parameter_entries(
    source: onnx.ModelProto, kept: Mapping[str, KeptAxes], shipped: onnx.ModelProto
) -> tuple[ParameterEntry, ...]:
    """Say of every parameter what was kept of it, and whether its values are still the source's."""
    before, after = ({tensor.name: tensor for tensor in model.graph.initializer} for model in (source, shipped))
    return tuple(
        ParameterEntry(
            name=name,
            transform=_transform(before.get(name), after.get(name), kept.get(name, {})),
            slices=tuple(
                Slice(axis=axis, kept=tuple(int(item) for item in positions))
                for axis, positions in sorted(kept.get(name, {}).items())
            ),
        )
        for name in sorted({*before, *after})
    )


def decisions(records: Sequence[Record], passes: Sequence[Pass]) -> tuple[Decision, ...]:
    """Pair each pass that was run with its record; the first record is the original's."""
    return tuple(
        Decision(
            name=record.name,
            options=tuple((name, str(value)) for name, value in step.options().items()),
            status=record.status,
            reason=record.reason,
            notes=record.notes,
        )
        for step, record in zip(passes, records[1:], strict=False)
    )


def input_figures(feeds: Feeds) -> tuple[InputFigure, ...]:
    """Describe the inputs that were timed."""
    return tuple(InputFigure(name=name, data_type=str(value.dtype), shape=value.shape) for name, value in feeds.items())


def samples(records: Sequence[Record]) -> tuple[Samples, ...]:
    """Collect the samples of every record that was timed."""
    return tuple(
        Samples(
            name=record.name,
            baseline_ms=record.comparison.baseline.samples_ms,
            candidate_ms=record.comparison.candidate.samples_ms,
            round_ratios=record.comparison.round_ratios,
        )
        for record in records
        if record.comparison
    )


def _transform(source: onnx.TensorProto | None, shipped: onnx.TensorProto | None, axes: KeptAxes) -> Transform:
    if source is None:
        return Transform.MADE
    if shipped is None:
        return Transform.REMOVED
    expected = numpy_helper.to_array(source)
    for axis, positions in axes.items():
        expected = expected.take(positions, axis)
    found = numpy_helper.to_array(shipped)
    same = found.dtype == expected.dtype and np.array_equal(found, expected)
    return Transform.TAKEN if same else Transform.ADJUSTED
