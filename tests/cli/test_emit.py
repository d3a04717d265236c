import json
import subprocess
import sys

import numpy as np
import onnx
from command import environment, prunec
from oracle import graph

from toolchain.emit.finetune.files import TEACHER_SOURCE, TEACHER_WEIGHTS, TRAINING_FILES

TEACHER = {TEACHER_SOURCE, TEACHER_WEIGHTS}


def test_the_folder_holds_a_module_that_loads_alone(folder):
    done = prunec("emit", "net.onnx", "-o", "out", cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    assert {path.name for path in (folder / "out").iterdir()} == {"model.onnx", *TRAINING_FILES} - TEACHER
    assert done.stdout.startswith("out: model.py (")
    assert {(folder / "out" / name).stat().st_mode & 0o044 for name in ("model.py", "weights.safetensors")} == {0o044}
    code = "import model, torch; print(tuple(model.load()(torch.zeros(5, 3, 8, 8)).shape))"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(
        command,
        cwd=folder / "out",
        env=environment(folder, PYTHONPATH=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout == "(5, 4)\n", loaded.stderr


def test_a_network_without_a_teacher_learns_from_labels_and_says_so_where_there_are_none(folder):
    assert prunec("emit", "net.onnx", "-o", "out", cwd=folder).code == 0
    with np.load(folder / "data.npz") as data:
        np.savez(folder / "unlabelled.npz", x=data["x"])
    options = ["--batch-size", "8", "--epochs", "1", "--device", "cpu"]
    done = prunec("finetune", "out", "--", "--data", "unlabelled.npz", *options, cwd=folder)
    assert done.code == 2
    assert done.complaint.startswith("prunec: fine-tuning stopped: unlabelled.npz: no labels for classes in it")
    done = prunec("finetune", "out", "--", "--data", "data.npz", *options, cwd=folder)
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("out/model.finetuned.onnx: ")
    assert done.stdout.endswith(" % on 3 samples that did not train\n")
    onnx.checker.check_model(folder / "out" / "model.finetuned.onnx")


def test_a_teacher_and_the_preprocessing_come_along(folder):
    options = ["--teacher", "net.onnx", "--preprocess", "scale=1/255,mean=0.5"]
    done = prunec("emit", "net.onnx", "-o", "out", *options, cwd=folder)
    assert done.code == 0, done.stderr
    assert {path.name for path in (folder / "out").iterdir()} == {"model.onnx", *TRAINING_FILES}
    recipe = json.loads((folder / "out" / "finetune.json").read_text())
    assert recipe["teacher"] is True
    assert recipe["preprocess"] == f"channels=rgb,scale={1 / 255},mean=0.5,layout=nchw"


def test_no_batchnorm_where_none_is_wanted(folder):
    for name, options in (("with", []), ("without", ["--no-batchnorm"])):
        assert prunec("emit", "net.onnx", "-o", name, *options, cwd=folder).code == 0
        assert ("BatchNorm" in (folder / name / "model.py").read_text()) == (name == "with")


def test_what_was_there_is_not_overwritten(folder):
    (folder / "model.py").write_text("mine")
    done = prunec("emit", "net.onnx", "-o", ".", cwd=folder)
    assert done.code == 2
    assert done.complaint == "prunec: -o .: it holds a model.py already; name another folder"
    assert (folder / "model.py").read_text() == "mine"


def test_a_file_in_the_way_is_refused(folder):
    done = prunec("emit", "net.onnx", "-o", "net.onnx", cwd=folder)
    assert (done.code, done.complaint) == (2, "prunec: -o net.onnx: a file is in the way; name a folder")


def test_an_op_without_an_emitter_is_named(folder):
    text = "net (float[2,3] x) => (float[2,3] y) { r = Relu(x) \n y = Det(r) }".replace("[2,3] y", "[P,Q] y")
    model = graph(text)
    model.graph.node[1].op_type, model.graph.node[1].name = "Hardmax", "/head/Odd"
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, folder / "odd.onnx")
    done = prunec("emit", "odd.onnx", "-o", "out", cwd=folder)
    assert done.code == 3
    assert done.complaint == (
        "prunec: com.example::Hardmax '/head/Odd' cannot be written in PyTorch: there is no emitter for this op; "
        "see `passes/emitters` for what can be written, and add a file there"
    )
    assert not (folder / "out").exists()
