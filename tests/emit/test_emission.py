"""One compile on the null target, and everything its bundle says of itself."""

import subprocess
import tomllib

import numpy as np
import onnx
import pytest
from bundles import compile_request, run_compile
from oracle import execute
from small import feeds_of, network, parameters

from passes.fold_constants import FoldConstants
from passes.prune import Prune
from toolchain.budget import Budget
from toolchain.emit.manifest import Manifest, Transform
from toolchain.emit.report import Report
from toolchain.errors import ExitCode, ModelError
from toolchain.graph.hashing import file_sha256, model_sha256
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import compare_with_masked
from toolchain.graph.plan import parse_plan
from toolchain.pipeline.parse import read_pipeline

FILES = [
    "engine/engine.json",
    "manifest.json",
    "model.onnx",
    "pipeline.toml",
    "plan.json",
    "report.html",
    "report.json",
    "report.md",
]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The bundle's folder and the report that was returned."""
    folder = tmp_path_factory.mktemp("compiled")
    return folder / "build", run_compile(compile_request(folder, network()))


@pytest.fixture(scope="module")
def bundle(compiled):
    return compiled[0]


def test_the_bundle_is_complete(bundle):
    found = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    assert found == sorted([*FILES, "SHA256SUMS"])


def test_the_checksums_hold(bundle):
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=bundle, check=True)
    assert len((bundle / "SHA256SUMS").read_text().splitlines()) == len(FILES)


def test_the_report_reads_back_and_its_schema_knows_every_field(compiled):
    bundle, report = compiled
    text = (bundle / "report.json").read_text()
    assert Report.model_validate_json(text, strict=True) == report
    schema = Report.model_json_schema()
    assert set(schema["properties"]) == set(report.model_dump())
    assert set(schema["required"]) <= set(report.model_dump())


def test_the_report_says_what_happened(compiled):
    _, report = compiled
    assert (report.outcome, report.exit_code) == ("budget met", ExitCode.MET)
    assert [item.status for item in report.passes] == ["original", "unchanged", "kept"]
    last = report.passes[-1].latency
    assert last.ratio <= 0.6
    assert report.message == f"{100 * last.ratio:.1f} % of the original latency for a budget of 60%"
    assert report.runtime_drift < 1e-4


def test_what_was_modelled_is_not_called_measured(compiled):
    bundle, report = compiled
    assert not report.target.measured
    assert not any(item.latency.measured for item in report.passes)
    assert "target null models latencies: no number here was measured" in report.unknown
    text = (bundle / "report.md").read_text()
    assert "modelled, not measured" in text
    assert "no data was given: units were chosen by their weights alone, and accuracy was not measured" in text


def test_the_pipeline_file_gives_the_same_passes(bundle):
    catalogue = {item.name(): item for item in (FoldConstants, Prune)}
    assert read_pipeline(bundle / "pipeline.toml", catalogue) == [FoldConstants(), Prune()]
    assert tomllib.loads((bundle / "pipeline.toml").read_text())["pass"][1]["strategy"] == "joint"


def test_the_manifest_lists_every_file_but_itself_and_the_checksums(bundle):
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    assert sorted(item.path for item in manifest.files) == sorted(set(FILES) - {"manifest.json"})
    for item in manifest.files:
        assert item.sha256 == file_sha256(bundle / item.path)
        assert item.bytes == (bundle / item.path).stat().st_size


def test_the_manifests_slices_make_the_pruned_parameters_of_the_sources(bundle):
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    source = normalise(onnx.load(bundle.parent / "source.onnx"))
    assert manifest.source_model_sha256 == file_sha256(bundle.parent / "source.onnx")
    assert manifest.pruned_from_sha256 == model_sha256(source)
    rebuilt = parameters(source)
    for item in manifest.parameters:
        assert item.transform is Transform.TAKEN
        for part in item.slices:
            rebuilt[item.name] = np.take(rebuilt[item.name], part.kept, axis=part.axis)
    shipped = parameters(onnx.load(bundle / "model.onnx"))
    assert rebuilt.keys() == shipped.keys()
    for name, value in shipped.items():
        np.testing.assert_array_equal(rebuilt[name], value)


def test_the_bundle_alone_proves_that_pruned_equals_masked(bundle):
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    source = normalise(onnx.load(bundle.parent / "source.onnx"))
    verdict = compare_with_masked(source, onnx.load(bundle / "model.onnx"), manifest.kept(), feeds_of(source), execute)
    assert verdict.equal
    assert verdict.powered


def test_the_plan_is_the_one_that_was_applied(compiled):
    bundle, report = compiled
    plan = parse_plan((bundle / "plan.json").read_text())
    gone = sum(item.width_before - item.width_after for item in report.pruning.groups)
    assert plan.removed_count == gone > 0


def test_the_raw_samples_are_kept(bundle):
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    assert [item.name for item in manifest.samples] == ["original", "fold-constants", "prune"]
    assert all(item.baseline_ms and item.candidate_ms for item in manifest.samples)


def test_the_same_request_gives_the_same_model_and_plan(bundle, tmp_path):
    run_compile(compile_request(tmp_path, network()))
    for name in ("model.onnx", "plan.json", "pipeline.toml"):
        assert (tmp_path / "build" / name).read_bytes() == (bundle / name).read_bytes()


def test_a_missed_budget_ships_the_best_found_and_says_so(tmp_path):
    report = run_compile(compile_request(tmp_path, network(), budget=Budget(ratio=0.01)))
    assert (report.outcome, report.exit_code) == ("budget missed", ExitCode.BUDGET_MISSED)
    assert report.message.endswith("for a budget of 1%: the best found is in the bundle")
    assert (tmp_path / "build" / "model.onnx").exists()


def test_a_budget_in_milliseconds_is_held_against_the_originals(tmp_path):
    original = run_compile(compile_request(tmp_path, network(), dry_run=True)).passes[0].latency.median_ms
    report = run_compile(compile_request(tmp_path, network(), budget=Budget(latency_ms=0.6 * original)))
    assert report.exit_code == ExitCode.MET
    assert report.passes[-1].latency.median_ms <= 0.6 * original


def test_a_failure_after_the_model_was_read_leaves_a_report(tmp_path):
    small = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20]> net (float[1,3] x) => (float[1,3] y) { y = Relu(x) }'
    )
    with pytest.raises(ModelError, match="nothing in this model can be pruned"):
        run_compile(compile_request(tmp_path, small))
    report = Report.model_validate_json((tmp_path / "build" / "report.json").read_text())
    assert (report.outcome, report.exit_code) == ("failed", ExitCode.MODEL)
    assert report.message.startswith("nothing in this model can be pruned")
    run_compile(
        compile_request(tmp_path, network())
    )  # A folder with a report is a bundle: the next try may replace it.
    assert (tmp_path / "build" / "model.onnx").exists()


def test_a_failure_leaves_an_earlier_bundle_alone(tmp_path):
    run_compile(compile_request(tmp_path, network()))
    before = (tmp_path / "build" / "SHA256SUMS").read_bytes()
    small = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20]> net (float[1,3] x) => (float[1,3] y) { y = Relu(x) }'
    )
    with pytest.raises(ModelError):
        run_compile(compile_request(tmp_path, small))
    assert (tmp_path / "build" / "SHA256SUMS").read_bytes() == before
