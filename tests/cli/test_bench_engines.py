"""`prunec bench` of engines, bundles, and across targets."""

import json
import shutil

import onnx
import pytest
from bundles import null_bundle, runtime_bundle
from command import prunec
from small import network

LOOSE = ("--half-width", "0.5", "--max-seconds", "60", "--json")


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """A folder with net.onnx and its engines of two targets, net.ort.onnx and net.blob, their papers beside them."""
    folder = tmp_path_factory.mktemp("engines")
    onnx.save(network(), folder / "net.onnx")
    for name, *options in (("net.ort.onnx", "onnxruntime"), ("net.blob", "openvino", "--target-options", "threads=1")):
        done = prunec("build", "net.onnx", "-o", name, "--target", *options, cwd=folder)
        assert done.code == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{name}.manifest.json: its papers, for `prunec bench`"
    return folder


def copied(engines, tmp_path):
    return shutil.copytree(engines, tmp_path / "spoiled")


def spoiled(engines, tmp_path, **changes):
    """Return a folder in which net.blob's papers say something else of where it was built."""
    folder = copied(engines, tmp_path)
    path = folder / "net.blob.manifest.json"
    papers = json.loads(path.read_text())
    papers["identity"].update(changes)
    path.write_text(json.dumps(papers))
    return folder


def targets(done):
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    return [found[side]["identity"]["target"] for side in ("baseline", "candidate")]


def test_one_model_on_two_targets(folder):
    done = prunec(
        *("bench", "net.onnx", "net.onnx", "--target", "onnxruntime"),
        *("--candidate-target", "openvino:threads=1", *LOOSE),
        cwd=folder,
    )
    assert targets(done) == ["onnxruntime", "openvino"]
    assert ["threads", "1"] in json.loads(done.stdout)["candidate"]["identity"]["options"]


def test_two_engines_run_on_the_targets_they_were_built_for(engines):
    done = prunec("bench", "net.ort.onnx", "net.blob", *LOOSE[:-1], cwd=engines)
    assert done.code == 0, done.stderr
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith("onnxruntime on ")
    assert second.startswith("openvino on ")
    assert second.endswith("(threads=1, device=CPU, precision=float32, pinning=False)")
    assert done.stdout.splitlines()[-1].startswith("verdict: ")


def test_a_model_takes_the_target_and_the_options_of_the_engine_beside_it(engines):
    done = prunec("bench", "net.onnx", "net.blob", *LOOSE, cwd=engines)
    assert targets(done) == ["openvino", "openvino"]
    baseline, candidate = (json.loads(done.stdout)[side] for side in ("baseline", "candidate"))
    assert baseline["identity"] == candidate["identity"]


def test_a_bundle_stands_for_the_engine_that_was_timed(tmp_path):
    (tmp_path / "modelled").mkdir()
    modelled = null_bundle(tmp_path / "modelled")
    runtime_bundle(tmp_path, modelled)
    done = prunec("bench", "build/engine/engine.onnx", "build", *LOOSE, cwd=tmp_path)
    assert targets(done) == ["onnxruntime", "onnxruntime"]
    done = prunec("bench", "source.onnx", modelled, cwd=tmp_path)
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "verdict: faster")
    with (tmp_path / "build" / "engine" / "engine.onnx").open("ab") as stream:
        stream.write(b"\0")
    done = prunec("bench", "source.onnx", "build", cwd=tmp_path)
    assert done.code == 3
    assert done.complaint.startswith("prunec: build: engine/engine.onnx does not have the hash that SHA256SUMS lists; ")


def test_an_engine_without_papers_is_named_as_such(engines, tmp_path):
    folder = copied(engines, tmp_path)
    (folder / "net.blob.manifest.json").unlink()
    done = prunec("bench", "net.blob", "net.onnx", "--target-options", "threads=1", *LOOSE, cwd=folder)
    assert targets(done) == ["openvino", "openvino"]
    assert done.stderr == (
        "warning: net.blob has no papers: nothing tells whether it is whole, or of this machine; "
        "loading it runs native code\n"
    )


def test_a_changed_engine_is_3_before_it_is_loaded(engines, tmp_path):
    folder = copied(engines, tmp_path)
    content = bytearray((folder / "net.blob").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "net.blob").write_bytes(content)
    done = prunec("bench", "net.onnx", "net.blob", cwd=folder)
    assert (done.code, done.complaint) == (
        3,
        "prunec: net.blob does not have the hash that net.blob.manifest.json lists; build it again",
    )


@pytest.mark.parametrize(
    ("field", "value"), [("runtime", "openvino 2019.1"), ("device", "a Jetson"), ("driver", "NVRM 1")]
)
def test_an_engine_of_another_version_or_machine_is_6(engines, tmp_path, field, value):
    done = prunec("bench", "net.onnx", "net.blob", cwd=spoiled(engines, tmp_path, **{field: value}))
    assert done.code == 6
    start = f"prunec: net.blob was built for another machine: its {field} is '{value}', here it is '"
    assert done.complaint.startswith(start)
    assert done.complaint.endswith("'; build it again on this one")


def test_a_cut_off_engine_without_papers_is_6(engines, tmp_path):
    folder = copied(engines, tmp_path)
    (folder / "net.blob.manifest.json").unlink()
    (folder / "net.blob").write_bytes((folder / "net.blob").read_bytes()[:5000])
    done = prunec("bench", "net.onnx", "net.blob", "--target", "openvino", cwd=folder)
    assert done.code == 6
    assert "prunec: net.blob: OpenVINO cannot load the engine " in done.complaint


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (
            "net.onnx net.blob --target onnxruntime",
            "net.blob was built for target openvino, not onnxruntime; give its model instead; ",
        ),
        ("net.onnx net.blob --target-options threads=2", "net.blob was built with the options threads=1,device=CPU,"),
        ("net.onnx net.onnx --target null --candidate-target onnxruntime", "null is timed on the clock 'modelled', on"),
        ("net.onnx net.onnx --candidate-target abacus", "there is no target 'abacus'; targets are auto, "),
        ("net.onnx net.txt", "net.txt: no such file; "),
    ],
)
def test_a_wrong_call_is_2(engines, command, complaint):
    done = prunec("bench", *command.split(), cwd=engines)
    assert done.code == 2
    assert done.complaint.startswith(f"prunec: {complaint}")


def test_an_engine_of_other_inputs_is_not_compared(engines, tmp_path):
    onnx.save(network(batch=2), tmp_path / "two.onnx")
    done = prunec("bench", engines / "net.blob", "two.onnx", cwd=tmp_path)
    assert done.code == 2
    assert "do not take the same inputs: x float 1x3x8x8 against x float 2x3x8x8; " in done.complaint


def test_a_folder_that_is_no_bundle_is_3(engines):
    done = prunec("bench", "net.onnx", ".", cwd=engines)
    assert (done.code, done.complaint) == (
        3,
        "prunec: .: SHA256SUMS is missing; this is not a whole bundle; compile again",
    )


def test_an_engine_that_a_formula_stands_for_is_compared_at_the_sizes_it_was_built_for(folder):
    """Its papers named it for `prunec bench`, which then refused it."""
    done = prunec("build", "net.onnx", "-o", "net.json", "--target", "null", cwd=folder)
    assert done.code == 0, done.stderr
    done = prunec("bench", "net.onnx", "net.json", cwd=folder)
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "verdict: no difference")
