"""Papers that are consistent and wrong: engines, machines, models and slices of others."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from bundles import HERE, findings, manifest_of, null_bundle, place_engine, reseal, runtime_bundle, verify
from onnx import numpy_helper
from small import TILES, network

from passes.fold_constants import FoldConstants
from passes.prune import Prune
from passes.rematch import Rematch
from toolchain.emit.bundle import EXTERNAL_DATA_BYTES, REPORT
from toolchain.emit.manifest import Transform
from toolchain.emit.report import Report
from toolchain.errors import ExitCode
from toolchain.graph.hashing import model_sha256
from toolchain.targets.engine import content_sha256
from toolchain.verify.gates import AccuracyWish

SOUND = ["files", "records", "engine papers", "identity", "trial", "engine", "equivalence"]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.standard_normal((64, 3, 8, 8)).astype(np.float32), y=np.arange(64) % 4)
    return path


@pytest.fixture(scope="module")
def modelled(tmp_path_factory, data):
    """A bundle of the null target, its weights repaired."""
    return null_bundle(tmp_path_factory.mktemp("modelled"), passes=[FoldConstants(), Prune(), Rematch()], data=data)


@pytest.fixture(scope="module")
def executed(tmp_path_factory, modelled):
    """The same with an engine that computes."""
    return runtime_bundle(tmp_path_factory.mktemp("executed"), modelled)


@pytest.fixture
def bundle(executed, tmp_path):
    """A copy that may be forged, its original beside it."""
    shutil.copyfile(executed.parent / "source.onnx", tmp_path / "source.onnx")
    return shutil.copytree(executed, tmp_path / "build")


def failure(bundle, **changes):
    found = verify(bundle, **changes)
    assert found.failure is found.checks[-1], findings(found)
    return found.failure.name, found.failure.text, found.failure.exit_code


@pytest.mark.parametrize("name", ["modelled", "executed"])
def test_a_sound_bundle_passes_every_check(name, request):
    found = verify(request.getfixturevalue(name))
    assert findings(found) == {**dict.fromkeys(SOUND, "passed"), "latency": "skipped", "accuracy": "skipped"}
    assert (found.outcome, found.exit_code) == ("verified", 0)


def test_the_oracle_holds_for_repaired_weights_and_says_how_many(executed):
    transforms = [item.transform for item in manifest_of(executed).parameters]
    assert transforms.count(Transform.ADJUSTED) > 0
    text = next(item.text for item in verify(executed).checks if item.name == "equivalence")
    assert text.startswith("differs from the masked original that holds its ")
    assert "would not have shown" not in text


def test_an_engine_file_of_another_model_is_found_by_its_hash(bundle, tmp_path_factory):
    other = runtime_bundle(tmp_path_factory.mktemp("one"), null_bundle(tmp_path_factory.mktemp("other"), seed=1))
    shutil.copyfile(other / "engine" / "engine.onnx", bundle / "engine" / "engine.onnx")
    reseal(bundle)
    name, text, code = failure(bundle)
    assert (name, code) == ("engine papers", ExitCode.MODEL)
    assert text == "engine/engine.onnx is not the engine that was built; compile again"


def test_an_engine_of_another_model_is_found_by_its_papers(bundle):
    place_engine(bundle, network(batch="N", seed=1))
    assert failure(bundle)[:2] == (
        "engine papers",
        "engine/engine.onnx was built from another model than model.onnx; compile again",
    )


def test_an_engine_of_another_model_with_forged_papers_is_found_by_running_it(bundle):
    place_engine(bundle, network(batch="N", seed=1))
    entry = manifest_of(bundle).engines[0]
    right = model_sha256(onnx.load(bundle / "model.onnx"))
    reseal(bundle, engines=(entry.model_copy(update={"model_sha256": right}),))
    name, text, code = failure(bundle)
    assert (name, code) == ("engine", ExitCode.MODEL)
    assert text.startswith("engine/engine.onnx does not compute what model.onnx computes: its outputs are ")


def test_an_engine_of_other_inputs_with_forged_papers_is_found_by_trying_it(bundle):
    place_engine(bundle, network(batch=2))
    entry = manifest_of(bundle).engines[0]
    right = model_sha256(onnx.load(bundle / "model.onnx"))
    reseal(bundle, engines=(entry.model_copy(update={"model_sha256": right}),))
    assert failure(bundle)[:2] == (
        "trial",
        "engine/engine.onnx takes other inputs than model.onnx: x float 1x3x8x8 against x float 2x3x8x8; compile again",
    )


def test_an_engine_for_another_device_is_held_against_its_papers_too(tmp_path):
    bundle = null_bundle(tmp_path, also_build=[replace(TILES, multiprocessors=2)])
    assert verify(bundle, any_machine=True).outcome == "verified"
    with (bundle / "engine-1-null" / "engine.json").open("a") as stream:
        stream.write(" ")
    reseal(bundle)
    assert failure(bundle)[:2] == (
        "engine papers",
        "engine-1-null/engine.json is not the engine that was built; compile again",
    )


def test_a_manifest_without_its_engine_is_refused(bundle):
    reseal(bundle, engines=())
    assert failure(bundle)[1] == "the manifest does not name the one engine that was timed; compile again"


def test_an_engine_beyond_the_bundle_is_never_opened(bundle):
    entry = manifest_of(bundle).engines[0].model_copy(update={"path": "../../engine.onnx"})
    reseal(bundle, engines=(entry,))
    assert failure(bundle)[1] == "the manifest does not name the one engine that was timed; compile again"


def test_a_modelled_engine_is_made_again(modelled, tmp_path):
    bundle = shutil.copytree(modelled, tmp_path / "build")
    path = bundle / "engine" / "engine.json"
    path.write_text(path.read_text().replace("latency_ms", "latency_ms ", 1))
    entry = manifest_of(bundle).engines[0]
    reseal(bundle, engines=(entry.model_copy(update={"sha256": content_sha256(path.parent)}),))
    assert failure(bundle)[:2] == (
        "engine",
        "engine/engine.json is not what target null makes of model.onnx; compile again",
    )


@pytest.mark.parametrize("field", ["device", "runtime", "driver", "precision"])
def test_another_machines_identity_is_refused_and_named(bundle, field):
    other = manifest_of(bundle).target.model_copy(update={field: "something else"})
    report = Report.model_validate_json((bundle / REPORT).read_text()).model_copy(update={"target": other})
    (bundle / REPORT).write_text(report.model_dump_json())
    reseal(bundle, target=other)
    name, text, code = failure(bundle)
    assert (name, code) == ("identity", ExitCode.ENVIRONMENT)
    here = getattr(HERE.identity(), field)
    assert text.startswith(f"the engine is for another machine: its {field} is 'something else', here it is '{here}'")
    assert verify(bundle, any_machine=True).outcome == "verified"


def test_a_model_of_another_bundle_is_found(bundle, tmp_path_factory):
    other = null_bundle(tmp_path_factory.mktemp("other"), seed=1)
    shutil.copyfile(other / "model.onnx", bundle / "model.onnx")
    reseal(bundle)
    assert failure(bundle)[:2] == (
        "records",
        "model.onnx holds another model than manifest.json; files of several bundles were mixed; compile again",
    )


def test_a_weight_that_was_changed_with_forged_papers_is_found_by_its_slice(bundle):
    spoil(bundle, "stem_weight", 1.5)
    item = next(item for item in manifest_of(bundle).parameters if item.name == "stem_weight")
    forged = [
        part.model_copy(update={"transform": Transform.TAKEN}) if part == item else part
        for part in manifest_of(bundle).parameters
    ]
    reseal(bundle, parameters=tuple(forged))
    assert failure(bundle)[:2] == (
        "equivalence",
        "parameter 'stem_weight' of model.onnx is said to be taken, but is adjusted; compile again",
    )


def test_a_wrong_slice_is_found_by_the_oracle(bundle):
    """Two kept channels of the consumer change places: values, shapes and hashes are all those of a sound bundle."""
    spoil(bundle, "body_weight", np.roll)
    entries = [
        item.model_copy(update={"transform": Transform.ADJUSTED}) if item.name == "body_weight" else item
        for item in manifest_of(bundle).parameters
    ]
    slices = [
        item.model_copy(
            update={"slices": tuple(part.model_copy(update={"kept": part.kept[::-1]}) for part in item.slices)}
        )
        if item.name == "body_weight"
        else item
        for item in entries
    ]
    reseal(bundle, parameters=tuple(slices))
    name, text, code = failure(bundle)
    assert (name, code) == ("equivalence", ExitCode.MODEL)
    assert text.startswith("model.onnx differs from the masked original by ")


def test_slices_beyond_the_original_are_refused(bundle):
    first, *rest = [item for item in manifest_of(bundle).parameters if item.slices]
    kept = (*first.slices[0].kept[:-1], 10**6)
    forged = first.model_copy(update={"slices": (first.slices[0].model_copy(update={"kept": kept}), *first.slices[1:])})
    others = [item for item in manifest_of(bundle).parameters if not item.slices]
    reseal(bundle, parameters=(forged, *rest, *others))
    assert (
        failure(bundle)[1]
        == f"the manifest takes slices of '{first.name}' that the original does not have; compile again"
    )


def test_another_original_is_refused(bundle, tmp_path):
    onnx.save(network(batch="N", seed=5), tmp_path / "other.onnx")
    name, text, _ = failure(bundle, original=tmp_path / "other.onnx")
    assert name == "equivalence"
    assert text.endswith("other.onnx is not the model that this bundle was compiled from; give that one")


def test_without_the_original_the_oracle_is_skipped_and_says_so(bundle):
    (bundle.parent / "source.onnx").unlink()
    reseal(bundle, flags=(("model", "elsewhere.onnx"),))
    found = verify(bundle)
    assert findings(found)["equivalence"] == "skipped"
    assert found.outcome == "verified"
    asked = verify(bundle, largest_ratio=0.6)
    assert (asked.exit_code, asked.latency) == (ExitCode.USAGE, None)
    assert asked.failure.text == "the original model is needed; give it with --original"


def test_a_modelled_ratio_is_a_gate(modelled):
    found = verify(modelled, largest_ratio=0.6)
    assert found.latency.ratio <= 0.6
    assert next(item.text for item in found.checks if item.name == "latency").endswith(", modelled")
    missed = verify(modelled, largest_ratio=0.1)
    assert (missed.outcome, missed.exit_code) == ("rejected", ExitCode.BUDGET_MISSED)
    assert missed.latency.ratio == found.latency.ratio


def test_accuracy_is_that_of_the_samples_that_judged(executed, modelled, data):
    reported = verify(executed, accuracy=AccuracyWish(0, data)).accuracy
    report = Report.model_validate_json((modelled / REPORT).read_text())
    assert reported.samples == report.data.evaluation_samples == report.passes[-1].accuracy.samples
    assert reported.value == pytest.approx(report.passes[-1].accuracy.value, abs=1e-9)


def test_a_missed_floor_is_5_and_measured_even_where_latency_is_missed(modelled, data):
    found = verify(modelled, largest_ratio=0.1, accuracy=AccuracyWish(100.5, data))
    assert (findings(found)["latency"], findings(found)["accuracy"]) == ("failed", "failed")
    assert found.exit_code == ExitCode.BUDGET_MISSED
    assert verify(modelled, accuracy=AccuracyWish(100.5, data)).exit_code == ExitCode.ACCURACY_MISSED


def test_fidelity_compares_with_the_original(executed, data):
    found = verify(executed, accuracy=AccuracyWish(0, data, metric="fidelity"))
    assert found.accuracy.metric == "fidelity"


def test_a_model_with_its_weights_in_a_file_beside_it_verifies(tmp_path, monkeypatch):
    monkeypatch.setattr("toolchain.emit.bundle.EXTERNAL_DATA_BYTES", 1000)
    bundle = null_bundle(tmp_path)
    assert (bundle / "model.onnx.data").stat().st_size > 1000
    assert EXTERNAL_DATA_BYTES > 1000
    assert verify(bundle).outcome == "verified"


def test_a_bundle_from_which_nothing_was_pruned_is_held_against_the_original(tmp_path):
    bundle = null_bundle(tmp_path, passes=[FoldConstants()], budget=None)
    text = next(item.text for item in verify(bundle).checks if item.name == "equivalence")
    assert text.startswith("nothing was pruned; differs from the original by ")


def spoil(bundle, name, change):
    """Change a parameter of model.onnx, build its engine, and write what is true of both into the papers."""
    model = onnx.load(bundle / "model.onnx")
    (tensor,) = [item for item in model.graph.initializer if item.name == name]
    value = numpy_helper.to_array(tensor)
    changed = np.roll(value, 1, axis=1) if change is np.roll else value * np.float32(change)
    tensor.CopyFrom(numpy_helper.from_array(changed, name))
    (bundle / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    place_engine(bundle, model)
    reseal(bundle, model_sha256=model_sha256(model))
