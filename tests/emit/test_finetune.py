"""The script on a folder alone, in processes of its own: no toolchain, no safetensors, no ONNX Runtime."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from emitted import EMITTERS
from oracle import execute, graph, prune
from small import network, parameters

from toolchain.emit.finetune.files import TRAINING_FILES, write_training_files
from toolchain.emit.finetune.run import finetune
from toolchain.errors import DataError, UsageError
from toolchain.graph.normalise import normalise

ALONE = """import runpy, sys
for name in ("safetensors", "onnxruntime", "toolchain"):
    sys.modules[name] = None
runpy.run_path("finetune.py", run_name="__main__")"""
QUICK = ["--batch-size", "32", "--epochs", "2", "--ema", "0.5", "--device", "cpu"]


def environment(**changes):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "OMP_NUM_THREADS": "1", **changes}


def script(folder, *options, code=ALONE):
    command = [sys.executable, "-c", code, *map(str, options)]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def bundle_of(folder, *, batchnorm=True):
    """Write a pruned network with everything that trains it, and samples that the original labelled."""
    original = normalise(network(batch="N"))
    pruned = prune(original, {"stem": range(8), "body": range(8)}).model
    folder.mkdir(exist_ok=True)
    onnx.save(pruned, folder / "model.onnx")
    x = np.random.default_rng(0).standard_normal((400, 3, 8, 8)).astype(np.float32)
    write_training_files(folder, pruned, original, EMITTERS, batchnorm=batchnorm, seen={"x": x[:64]})
    np.savez(folder / "data.npz", x=x, y=execute(original, {"x": x})["scores"].argmax(1))
    return folder


def detector_in(folder):
    """Write a pruned detector whose graph holds a batch of 1, and images without labels."""
    original = normalise(
        graph("""net (float[1,3,8,8] x) => (float[1,64,3] y) <
            float[16,3,3,3] stem_weight, float[16] stem_bias, float[2,16,1,1] box, float[2] place,
            float[1,16,1,1] score, float[1] often, float hundred = {100}, int64[3] rows = {1, 3, 64}> {
        stem = Conv<pads=[1,1,1,1]>(x, stem_weight, stem_bias)
        stem_out = Relu(stem)
        boxes = Conv(stem_out, box, place)
        pixels = Mul(boxes, hundred)
        scores = Conv(stem_out, score, often)
        both = Concat<axis=1>(pixels, scores)
        flat = Reshape(both, rows)
        y = Transpose<perm=[0,2,1]>(flat)
    }""")
    )
    pruned = prune(original, {"stem": range(6)}).model
    folder.mkdir(exist_ok=True)
    onnx.save(original, folder / "original.onnx")
    onnx.save(pruned, folder / "model.onnx")
    x = np.random.default_rng(0).standard_normal((100, 3, 8, 8)).astype(np.float32)
    write_training_files(folder, pruned, original, EMITTERS, batchnorm=False, seen={"x": x})
    np.savez(folder / "data.npz", x=x)
    return folder


def state_of(folder):
    return parameters(onnx.load(folder / "model.finetuned.onnx"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = bundle_of(tmp_path_factory.mktemp("bundle"))
    return folder, script(folder, "--data", "data.npz", *QUICK)


def test_the_folder_alone_trains_its_network(trained):
    folder, done = trained
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads((folder / "finetune.result.json").read_text())
    scores = figures["validation_percent"]
    assert scores["original"] == 100
    assert scores["best"] > scores["start"]
    assert figures["error"] < 1e-4
    assert figures["validation_samples"] == 40
    assert not (folder / "finetune.checkpoint").exists()
    lines = done.stdout.splitlines()
    assert lines[0].startswith("360 samples train, 40 judge: original 100.00 %, start ")
    assert [line.partition(":")[0] for line in lines[2:-1]] == ["epoch 1/2", "epoch 2/2"]


def test_trials_find_the_rate_and_leave_no_other_trace(trained, tmp_path):
    folder, done = trained
    figures = json.loads((folder / "finetune.result.json").read_text())
    rate, losses = figures["rate"], {float(rate): loss for rate, loss in figures["trials"].items()}
    assert rate in losses
    assert min(losses.values()) < losses[0.0], "a trial learns"
    listed = ", ".join(f"{loss:.4g} at {tried:g}" for tried, loss in losses.items())
    assert done.stdout.splitlines()[1] == f"learning rate {rate:g}: after trials of 8 steps the loss is {listed}"
    given = bundle_of(tmp_path / "bundle")
    again = script(given, "--data", "data.npz", *QUICK, "--lr", rate)
    assert (again.returncode, again.stderr) == (0, "")
    assert "learning rate" not in again.stdout
    for name, value in state_of(folder).items():
        np.testing.assert_array_equal(state_of(given)[name], value, err_msg=name)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_detectors_rate_is_found_by_its_features_errors(optimizer, tmp_path):
    folder = detector_in(tmp_path)
    done = script(folder, "--data", "data.npz", *QUICK, "--optimizer", optimizer)
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads((folder / "finetune.result.json").read_text())
    assert min(figures["trials"].values()) < figures["trials"]["0.0"]
    assert figures["validation_percent"]["best"] > figures["validation_percent"]["start"]


def test_with_too_few_samples_for_a_trial_the_rate_is_the_lowest(tmp_path):
    folder = bundle_of(tmp_path)
    with np.load(folder / "data.npz") as data:
        np.savez(folder / "few.npz", x=data["x"][:2], y=data["y"][:2])
    done = script(folder, "--data", "few.npz", "--epochs", "1", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    line = done.stdout.splitlines()[1]
    figures = json.loads((folder / "finetune.result.json").read_text())
    assert line == f"learning rate {figures['rate']:g}: too few samples to find it by trial"
    assert figures["trials"] == {}


def test_the_result_scores_in_onnx_runtime_what_the_script_says(trained):
    folder, _ = trained
    with np.load(folder / "data.npz") as data:
        judging = np.random.default_rng(0).permutation(400)[:40]
        found = execute(onnx.load(folder / "model.finetuned.onnx"), {"x": data["x"][judging]})["scores"].argmax(1)
        score = 100 * float((found == data["y"][judging]).mean())
    figures = json.loads((folder / "finetune.result.json").read_text())
    assert score == pytest.approx(figures["validation_percent"]["best"])


def test_only_weights_change(trained):
    folder, _ = trained
    before, after = (onnx.load(folder / name) for name in ("model.onnx", "model.finetuned.onnx"))
    for model in (before, after):
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")
    assert [item.name for item in before.graph.initializer] == [item.name for item in after.graph.initializer]
    assert list(before.graph.node) == list(after.graph.node)


def test_a_killed_run_continues_to_the_same_weights(trained, tmp_path):
    folder, options = bundle_of(tmp_path / "bundle"), ["--data", "data.npz", *QUICK, "--checkpoint-seconds", "0"]
    process = subprocess.Popen([sys.executable, "finetune.py", *options], cwd=folder, env=environment())
    while not (folder / "finetune.checkpoint").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "model.finetuned.onnx").exists()
    changed = script(folder, *options, "--epochs", "3")
    assert changed.returncode == 2
    assert changed.stderr.endswith("is of a run with another --epochs; --restart forgets it\n")
    done = script(folder, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("continuing after ")
    assert "learning rate" not in done.stdout, "it is in the checkpoint"
    found, expected = (json.loads((where / "finetune.result.json").read_text()) for where in (folder, trained[0]))
    assert (found["rate"], found["trials"]) == (expected["rate"], expected["trials"])
    for name, value in state_of(trained[0]).items():
        np.testing.assert_allclose(state_of(folder)[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_detector_of_one_image_at_a_time_learns_every_feature(tmp_path):
    """What most exported detectors are: a batch of 1 in their Reshapes, boxes in pixels beside scores."""
    folder = detector_in(tmp_path)
    done = script(folder, "--data", "data.npz", "--epochs", "6", "--lr", "0.05", "--ema", "0.5", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("90 samples train, 10 judge: original 100.00 %, start ")
    original, pruned, tuned = (
        onnx.load(folder / name) for name in ("original.onnx", "model.onnx", "model.finetuned.onnx")
    )
    with np.load(folder / "data.npz") as data:
        feeds = [{"x": image[None]} for image in data["x"][:20]]
    wanted, before, after = ([execute(model, one)["y"] for one in feeds] for model in (original, pruned, tuned))
    start, end = (np.mean(np.square(np.subtract(found, wanted)), axis=(0, 1, 2)) for found in (before, after))
    assert (end < 0.5 * start).all(), "boxes and scores alike"


@pytest.mark.slow
@pytest.mark.parametrize("make", [partial(bundle_of, batchnorm=False), detector_in], ids=["classifier", "detector"])
def test_two_processes_learn_what_one_does(make, tmp_path):
    one, two = (make(tmp_path / name) for name in ("one", "two"))
    assert script(one, "--data", "data.npz", *QUICK).returncode == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "finetune.py"]
    command += ["--data", "data.npz", *QUICK]
    done = subprocess.run(command, cwd=two, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2/2: ") == 1
    rates = [json.loads((folder / "finetune.result.json").read_text())["rate"] for folder in (one, two)]
    assert rates[0] == rates[1]
    for name, value in state_of(one).items():
        np.testing.assert_allclose(state_of(two)[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--augment"],
        ["--optimizer", "adamw"],
        ["--label-weight", "0.5"],
        ["--batchnorm", "frozen"],
        ["--precision", "bf16"],
        ["--ema", "0", "--clip", "0"],
    ],
    ids=lambda options: options[0],
)
def test_every_option_trains(options, tmp_path):
    folder = bundle_of(tmp_path / "bundle")
    done = script(folder, "--data", "data.npz", *QUICK, *options)
    assert (done.returncode, done.stderr) == (0, "")
    scores = json.loads((folder / "finetune.result.json").read_text())["validation_percent"]
    assert scores["best"] >= scores["start"]


WRONG = {
    "size": (
        lambda x, y: {"x": np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 1)]), "y": y},
        ": input 'x' expects [N, 3, 8, 8], found [N, 3, 9, 9]; see --preprocess",
    ),
    "range": (lambda x, y: {"x": 255 * x, "y": y}, ": input 'x' has values from "),
    "labels out of range": (
        lambda x, y: {"x": x, "y": np.arange(len(y)) % 5},
        ": labels from 0 to 4, but the network has 4 classes",
    ),
    "labels in another order": (lambda x, y: {"x": x, "y": (y + 1) % 4}, ": the original is right for "),
    "NaN": (
        lambda x, y: {"x": np.where(np.arange(len(x))[:, None, None, None] == 7, np.float32(np.nan), x), "y": y},
        ": sample 7 holds a value that is not finite; remove it",
    ),
    "too few": (
        lambda x, y: {"x": x[:20], "y": y[:20]},
        ": 18 samples to train on and 2 to judge, but --batch-size is 32",
    ),
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A bundle with the result of an earlier run, and what every file in it holds."""
    folder = bundle_of(tmp_path_factory.mktemp("earlier"))
    (folder / "model.finetuned.onnx").write_bytes(b"of an earlier run")
    (folder / "finetune.result.json").write_text("of an earlier run")
    return folder, contents(folder)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(("change", "line"), WRONG.values(), ids=list(WRONG))
def test_wrong_data_is_told_in_a_line_and_nothing_is_written(change, line, earlier, tmp_path):
    folder, before = earlier
    with np.load(folder / "data.npz") as data:
        changed = change(data["x"], data["y"])
    np.savez(tmp_path / "wrong.npz", **changed)
    done = script(folder, "--data", tmp_path / "wrong.npz", *QUICK)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"finetune: {tmp_path}/wrong.npz{line}")
    assert len(done.stderr.splitlines()) == 1
    assert contents(folder) == before
    lines = []
    with pytest.raises(DataError) as stop:  # What `prunec finetune` says: nothing but the line.
        finetune(folder, ["--data", str(tmp_path / "wrong.npz"), *QUICK], on_line=lines.append)
    assert str(stop.value).startswith(f"fine-tuning stopped: {tmp_path}/wrong.npz{line}")
    assert len(lines) == 1
    assert contents(folder) == before


def test_a_compile_runs_it_without_the_samples_that_judge(tmp_path):
    folder, lines = bundle_of(tmp_path / "bundle"), []
    (tmp_path / "out").mkdir()
    path, figures = finetune(
        folder,
        ["--data", str(folder / "data.npz"), *QUICK, "--epochs", "1"],
        output=tmp_path / "out",
        excluded=range(100),
        on_line=lines.append,
    )
    assert path == tmp_path / "out" / "model.finetuned.onnx"
    onnx.checker.check_model(path)
    assert lines[0].startswith("270 samples train, 30 judge")
    assert figures.validation_samples == 30
    assert sorted(item.name for item in folder.glob("*.*")) == sorted(
        set(TRAINING_FILES) | {"data.npz", "model.onnx"}
    ), "the bundle itself is left as it was"


def test_what_the_script_refuses_is_an_error_of_the_data(tmp_path):
    folder = bundle_of(tmp_path / "bundle")
    with pytest.raises(DataError, match=r"^fine-tuning stopped: /nowhere: no folder, no \.npz and no \.py file$"):
        finetune(folder, ["--data", "/nowhere"], on_line=lambda _: None)
    with pytest.raises(UsageError, match=r"no finetune\.py in it"):
        finetune(tmp_path, [])


def test_the_scripts_files_are_those_that_ship():
    source = Path(finetune.__code__.co_filename).parent
    assert {path.name for path in source.glob("finetune*.py")} <= set(TRAINING_FILES)
