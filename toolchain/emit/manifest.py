"""`manifest.json`: where everything in the bundle comes from, in enough detail to check it all again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from toolchain.emit.report import Environment, Frozen, TargetFigure
from toolchain.graph.hashing import file_sha256
from toolchain.graph.surgery import KeptAxes
from toolchain.pipeline.record import Record


class FileEntry(Frozen):
    """A file of the bundle."""

    path: str
    bytes: int
    sha256: str


class Slice(Frozen):
    """An output parameter is the source parameter of the same name, these positions taken along an axis."""

    parameter: str
    axis: int
    kept: tuple[int, ...]


class Samples(Frozen):
    """The raw samples behind one row of the report, in the order they were taken."""

    name: str
    baseline_ms: tuple[float, ...]
    candidate_ms: tuple[float, ...]


class Manifest(Frozen):
    """Hashes, provenance, raw samples."""

    schema_version: Literal[1] = 1
    source_model_sha256: str
    pruned_from_sha256: str
    """Content hash of the model that the slices refer to: the source after the passes before pruning."""
    target: TargetFigure | None
    environment: Environment
    files: tuple[FileEntry, ...]
    slices: tuple[Slice, ...]
    samples: tuple[Samples, ...]


def file_entries(directory: Path) -> tuple[FileEntry, ...]:
    """Describe every file that is there now."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return tuple(
        FileEntry(path=path.relative_to(directory).as_posix(), bytes=path.stat().st_size, sha256=file_sha256(path))
        for path in files
    )


def slices(kept: Mapping[str, KeptAxes]) -> tuple[Slice, ...]:
    """Write down what surgery kept."""
    return tuple(
        Slice(parameter=name, axis=axis, kept=tuple(int(item) for item in positions))
        for name, axes in sorted(kept.items())
        for axis, positions in sorted(axes.items())
    )


def samples(records: tuple[Record, ...]) -> tuple[Samples, ...]:
    """Collect the samples of every record that was timed."""
    return tuple(
        Samples(
            name=record.name,
            baseline_ms=record.comparison.baseline.samples_ms,
            candidate_ms=record.comparison.candidate.samples_ms,
        )
        for record in records
        if record.comparison
    )
