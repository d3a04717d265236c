"""Run every check of a bundle in order, until one fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from toolchain.emit.bundle import CHECKSUMS
from toolchain.emit.manifest import Manifest
from toolchain.emit.report import AccuracyFigure, LatencyFigure
from toolchain.errors import BundleError, ExitCode, PrunecError, UsageError
from toolchain.graph.hashing import file_sha256
from toolchain.graph.rule import Rule
from toolchain.measure.lock import device_lock
from toolchain.pipeline.contract import Pass, Reporter
from toolchain.pipeline.parse import read_pipeline
from toolchain.verify.checks import (
    check_engine,
    check_engine_papers,
    check_equivalence,
    check_identity,
    check_records,
    check_trial,
)
from toolchain.verify.contents import check_contents
from toolchain.verify.gates import (
    AccuracyWish,
    compare_with_original,
    measure_accuracy,
    require_accuracy,
    require_ratio,
)
from toolchain.verify.subject import Subject
from toolchain.verify.verification import CheckFigure, Finding, Inexact, Verification


@dataclass(frozen=True, eq=False)
class VerifyRequest:
    """What is asked of a bundle."""

    bundle: Path
    catalogue: Mapping[str, type[Pass]]
    rules: Mapping[str, Rule]
    checksums_sha256: str = ""
    """The hash that SHA256SUMS must have; empty: any."""
    original: Path | None = None
    largest_ratio: float | None = None
    accuracy: AccuracyWish | None = None
    any_machine: bool = False
    """Leave out what can only be checked on the machine of the engine."""
    seed: int = 0


def verify_bundle(request: VerifyRequest, reporter: Reporter) -> Verification:
    """Check files, papers, engine and equivalence, then measure what is asked for.

    Raises UsageError where there is no bundle to look at, or something is asked for that the call does not allow.
    """
    if not request.bundle.is_dir():
        raise UsageError(f"{request.bundle}: no such folder", hint="give a bundle, what `prunec compile -o` wrote")
    return _Verifier(request, reporter).run()


class _Verifier:
    """One verification and what it has found so far."""

    def __init__(self, request: VerifyRequest, reporter: Reporter) -> None:
        self._request = request
        self._reporter = reporter
        self._checks: list[CheckFigure] = []
        self._latency: LatencyFigure | None = None
        self._accuracy: AccuracyFigure | None = None

    def run(self) -> Verification:
        """Check in order: nothing is opened before its hash, nothing is run before its papers."""
        request = self._request
        subjects: list[Subject] = []
        self._check("files", lambda: self._open(subjects))
        if subjects:
            self._check_subject(subjects[0])
        return Verification(
            bundle=str(request.bundle),
            checksums_sha256=file_sha256(request.bundle / CHECKSUMS) if subjects else "",
            checks=tuple(self._checks),
            latency=self._latency,
            accuracy=self._accuracy,
        )

    def _check_subject(self, subject: Subject) -> None:
        """A failure ends it; only of latency and accuracy each is measured whatever the other one is."""
        request = self._request
        here = "left out by --any-machine" if request.any_machine else ""
        unpaired = "" if subject.original else "the original was not given, nor found where it was compiled"
        self._check("records", lambda: check_records(subject))
        self._check("engine papers", lambda: check_engine_papers(subject))
        self._check("identity", lambda: check_identity(subject), skip=here)
        self._check("trial", lambda: check_trial(subject, with_engine=not here))
        self._check("engine", lambda: check_engine(subject), skip=here)
        self._check("equivalence", lambda: check_equivalence(subject), skip=unpaired)
        if self._failed:
            return
        unasked = ("not asked for" if wish is None else here for wish in (request.largest_ratio, request.accuracy))
        self._check("latency", lambda: self._time(subject), skip=next(unasked))
        self._check("accuracy", lambda: self._score(subject), skip=next(unasked), always=True)

    @property
    def _failed(self) -> bool:
        return any(item.finding is Finding.FAILED for item in self._checks)

    def _check(self, name: str, check: Callable[[], str | Inexact], *, skip: str = "", always: bool = False) -> None:
        """Run a check unless there is a reason to skip it, or an earlier one failed."""
        if self._failed and not always:
            return
        self._reporter.progress(f"checking {name}")
        started = time.monotonic()
        finding, text, exit_code = Finding.SKIPPED, skip, ExitCode.MET
        if not skip:
            try:
                found = check()
                finding = Finding.INEXACT if isinstance(found, Inexact) else Finding.PASSED
                text = found.text if isinstance(found, Inexact) else found
            except PrunecError as error:
                finding, text, exit_code = Finding.FAILED, str(error), error.exit_code
        seconds = time.monotonic() - started
        self._checks.append(CheckFigure(name=name, finding=finding, text=text, seconds=seconds, exit_code=exit_code))

    def _open(self, subjects: list[Subject]) -> str:
        request = self._request
        manifest = check_contents(request.bundle)
        wanted, found = request.checksums_sha256, file_sha256(request.bundle / CHECKSUMS)
        if wanted and wanted.lower() != found:
            raise BundleError(f"{CHECKSUMS} has the hash {found}, not the one that was given")
        passes = read_pipeline(request.bundle / "pipeline.toml", request.catalogue)
        original = request.original or _found_original(request.bundle, manifest)
        subjects.append(
            Subject(request.bundle, manifest, original, passes, request.rules, self._reporter, request.seed)
        )
        return f"{len(manifest.files) + 2} files are what {CHECKSUMS} and manifest.json say"

    def _time(self, subject: Subject) -> str:
        assert self._request.largest_ratio is not None
        with device_lock(subject.target.identity().device, self._reporter.progress):
            comparison = compare_with_original(subject, self._request.largest_ratio)
        self._latency = LatencyFigure.of(comparison)
        return require_ratio(comparison, self._request.largest_ratio)

    def _score(self, subject: Subject) -> str:
        assert self._request.accuracy is not None
        score = measure_accuracy(subject, self._request.accuracy)
        self._accuracy = AccuracyFigure.of(score)
        return require_accuracy(score, self._request.accuracy)


def _found_original(bundle: Path, manifest: Manifest) -> Path | None:
    """Look where the original was when it was compiled, and beside the bundle; its hash must be the manifest's."""
    path = Path(dict(manifest.flags).get("model", ""))
    for candidate in (path, bundle.parent / path.name):
        if candidate.is_file() and file_sha256(candidate) == manifest.source_model_sha256:
            return candidate
    return None
