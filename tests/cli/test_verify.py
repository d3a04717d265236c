"""`prunec verify` and `prunec schema` in processes of their own, and that a compile can be repeated byte for byte."""

import json
import shutil
from xml.etree import ElementTree

import jsonschema
import numpy as np
import onnx
import pytest
from bundles import manifest_of, reseal
from command import prunec
from small import network

from toolchain.cli.schema import Document, schema_of
from toolchain.emit.bundle import CHECKSUMS, write_checksums

TINY = "multiprocessors=1,tile_rows=16,tile_columns=8,tile_depth=8"
MODELLED = ("--budget", "60%", "--target", "null", "--target-options", TINY, "--strategy", "uniform", "-q")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A folder with net.onnx, data.npz, and the bundle of both, out."""
    folder = tmp_path_factory.mktemp("pristine")
    onnx.save(network(), folder / "net.onnx")
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=rng.standard_normal((32, 3, 8, 8)).astype(np.float32), y=np.arange(32) % 4)
    assert prunec("compile", "net.onnx", *MODELLED, "--data", "data.npz", "-o", "out", cwd=folder).code == 0
    return folder


@pytest.fixture
def compiled(pristine, tmp_path):
    """A copy of it that may be spoiled."""
    return shutil.copytree(pristine, tmp_path / "compiled")


def test_a_sound_bundle_is_0_with_its_checks_in_every_form(compiled):
    written = ("--junit", "junit.xml", "--markdown", "summary.md", "--outputs", "outputs")
    gates = ("--max-ratio", "0.6", "--min-accuracy", "0", "--data", "data.npz")
    done = prunec("verify", "out", *gates, *written, cwd=compiled)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "out: verified"
    suite = ElementTree.parse(compiled / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("9", "0", "0")
    assert (compiled / "summary.md").read_text().startswith("## prunec verify: verified\n\n- latency: ")
    lines = dict(line.split("=") for line in (compiled / "outputs").read_text().splitlines())
    assert lines["outcome"] == "verified"
    assert 0 < float(lines["ratio"]) <= 0.6


def test_a_spoiled_bundle_is_3_in_one_line_and_still_reported(compiled):
    with (compiled / "out" / "model.onnx").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff\xff")
    done = prunec("verify", "out", "--json", "--junit", "junit.xml", cwd=compiled)
    assert done.code == 3
    assert done.complaint.startswith("prunec: files: model.onnx does not have the hash that SHA256SUMS lists;")
    assert [item["finding"] for item in json.loads(done.stdout)["checks"]] == ["failed"]
    assert ElementTree.parse(compiled / "junit.xml").getroot()[0].get("failures") == "1"


@pytest.mark.slow
def test_one_flipped_byte_in_any_file_is_3_and_named(compiled):
    files = sorted(path for path in (compiled / "out").rglob("*") if path.is_file())
    assert {"model.onnx", "model.py", "teacher.safetensors", "report.html", "SHA256SUMS"} <= {
        item.name for item in files
    }
    for number, path in enumerate(files):
        content = path.read_bytes()
        place = number * 7919 % len(content)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        done = prunec("verify", "out", cwd=compiled)
        assert done.code == 3, path
        named = "" if path.name == CHECKSUMS else path.relative_to(compiled / "out").as_posix()
        assert done.complaint.startswith(f"prunec: files: {named}")
        path.write_bytes(content)
    print(f"{len(files)} of {len(files)} files with one flipped bit refused")
    assert prunec("verify", "out", cwd=compiled).code == 0


def test_another_models_engine_is_3(compiled):
    (compiled / "out" / "engine" / "engine.json").write_text('{"latency_ms": 0.001}')
    reseal(compiled / "out")
    done = prunec("verify", "out", cwd=compiled)
    assert done.code == 3
    assert done.complaint == (
        "prunec: engine papers: engine/engine.json is not the engine that was built; compile again"
    )


def test_another_machines_engine_is_6(compiled):
    target = manifest_of(compiled / "out").target.model_copy(update={"device": "a Jetson"})
    report = json.loads((compiled / "out" / "report.json").read_text())
    report["target"]["device"] = "a Jetson"
    (compiled / "out" / "report.json").write_text(json.dumps(report))
    reseal(compiled / "out", target=target)
    done = prunec("verify", "out", cwd=compiled)
    assert done.code == 6
    assert done.complaint.startswith(
        "prunec: identity: the engine is for another machine: its device is 'a Jetson', here it is 'modelled GPU, "
    )


def test_a_newer_schema_is_3(compiled):
    manifest = json.loads((compiled / "out" / "manifest.json").read_text())
    (compiled / "out" / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 2}))
    (compiled / "out" / CHECKSUMS).unlink()
    write_checksums(compiled / "out")
    done = prunec("verify", "out", cwd=compiled)
    assert (done.code, done.complaint) == (
        3,
        "prunec: files: manifest.json is of schema 2; this version of prunec knows schemas up to 1; update prunec",
    )


def test_a_missed_ratio_is_4(compiled):
    done = prunec("verify", "out", "--max-ratio", "0.01", cwd=compiled)
    assert done.code == 4
    assert "% of the original latency for a budget of 1 %" in done.complaint
    assert done.stdout.splitlines()[-1] == "out: rejected"


def test_a_missed_floor_is_5(compiled):
    done = prunec("verify", "out", "--min-accuracy", "101", "--data", "data.npz", cwd=compiled)
    assert done.code == 5
    assert "samples, floor 101" in done.complaint


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("none",), "prunec: none: no such folder; give a bundle, what `prunec compile -o` wrote"),
        (("out", "--min-accuracy", "9"), "prunec: accuracy needs both a floor and samples; add --data"),
        (("out", "--data", "data.npz"), "prunec: accuracy needs both a floor and samples; add --min-accuracy"),
        (
            ("out", "--any-machine", "--max-ratio", "0.6"),
            "prunec: --any-machine leaves the engine alone, but a gate runs it; leave one of them out",
        ),
    ],
)
def test_a_wrong_call_is_2(folder, options, complaint):
    (folder / "out").mkdir()
    done = prunec("verify", *options, cwd=folder)
    assert (done.code, done.complaint) == (2, complaint)


def test_a_wrong_option_after_the_model_was_read_leaves_a_report(folder):
    done = prunec("compile", "net.onnx", *MODELLED, "--input-shapes", "z:[1]", "-o", "out", cwd=folder)
    assert done.code == 2
    report = json.loads((folder / "out" / "report.json").read_text())
    assert (report["outcome"], report["exit_code"]) == ("failed", 2)
    assert report["message"] in done.complaint
    assert prunec("verify", "out", cwd=folder).code == 3  # A report alone is no bundle.


def test_two_processes_make_the_same_bytes(compiled):
    """Another order of hashes of strings, another folder: nothing of a plan or a model may depend on it."""
    (compiled / "second").mkdir()
    for name in ("net.onnx", "data.npz"):
        shutil.copyfile(compiled / name, compiled / "second" / name)
    again = ("compile", "net.onnx", *MODELLED, "--data", "data.npz", "-o", "out")
    assert prunec(*again, cwd=compiled / "second", environ={"PYTHONHASHSEED": "4242"}).code == 0
    for name in ("model.onnx", "plan.json", "pipeline.toml", "engine/engine.json"):
        assert (compiled / "second" / "out" / name).read_bytes() == (compiled / "out" / name).read_bytes(), name


def test_the_schemas_hold_what_a_bundle_holds(compiled):
    verification = prunec("verify", "out", "--json", cwd=compiled).stdout
    (compiled / "out" / "verification.json").write_text(verification)
    for document in Document:
        schema = schema_of(document)
        assert schema["$id"] == f"urn:prunec:{document}:1"
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(json.loads((compiled / "out" / f"{document}.json").read_text()), schema)


def test_a_schema_is_alone_on_stdout(tmp_path):
    done = prunec("schema", "plan", cwd=tmp_path)
    assert (done.code, json.loads(done.stdout)) == (0, schema_of(Document.PLAN))
