"""`prunec compile --finetune`: the script trains in a process of its own, and the bundle is one that verifies."""

import json

import numpy as np
import onnx
import pytest
from command import prunec
from oracle import execute
from small import network

TINY = "multiprocessors=1,tile_rows=16,tile_columns=8,tile_depth=8"
PASSES = ("--passes", "fold-constants,prune(strategy=uniform,criterion=random)")
MODELLED = ("--target", "null", "--target-options", TINY, "--budget", "60%", *PASSES, "--data", "data.npz")
QUICK = "--epochs 4 --batch-size 32 --ema 0.5 --device cpu"


def balanced(model):
    """Take the mean of each class' score away, so that all classes are seen, and pruning is felt."""
    x = np.random.default_rng(9).standard_normal((800, 3, 8, 8)).astype(np.float32)
    mean = execute(model, {"x": x})["scores"].mean(0)
    bias = next(item for item in model.graph.initializer if item.name == "head_bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) - mean, bias.name))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, samples that it labelled itself, and others of which the compile knows nothing."""
    folder, model = tmp_path_factory.mktemp("finetune"), balanced(network(batch="N"))
    onnx.save(model, folder / "net.onnx")
    for number, name in enumerate(("data.npz", "train.npz")):
        x = np.random.default_rng(number).standard_normal((800, 3, 8, 8)).astype(np.float32)
        np.savez(folder / name, x=x, y=execute(model, {"x": x})["scores"].argmax(1))
    return folder


def compiled(folder, options, *others, out="out"):
    return prunec("compile", "net.onnx", *MODELLED, "--finetune", options, *others, "-o", out, cwd=folder)


def report_of(folder, name="out"):
    return json.loads((folder / name / "report.json").read_text())


@pytest.fixture(scope="module")
def trained(folder):
    return compiled(folder, f"{QUICK} --data train.npz --lr 0.05")


@pytest.mark.slow
def test_the_better_network_ships_with_a_row_of_its_own(folder, trained):
    assert trained.code == 0, trained.stderr
    *_, pruned, tuned = report_of(folder)["passes"]
    assert (pruned["name"], tuned["name"], tuned["status"]) == ("prune", "finetune", "kept")
    assert tuned["accuracy"]["value"] > pruned["accuracy"]["value"]
    assert tuned["latency"]["ratio"] == pruned["latency"]["ratio"]
    assert tuned["equivalence"]["passed"]
    assert "the script's own judgement: " in tuned["notes"][0]
    assert "| finetune | kept |" in (folder / "out" / "report.md").read_text()
    assert "720 samples train, 80 judge" in trained.stderr


@pytest.mark.slow
def test_what_was_trained_is_what_ships_and_verifies(folder, trained):
    assert trained.code == 0
    found = report_of(folder)["passes"][-1]["accuracy"]["value"]
    floor = ("--data", "data.npz", "--min-accuracy", found)
    checked = prunec("verify", "out", "--original", "net.onnx", *floor, "--json", cwd=folder)
    assert checked.code == 0, checked.stdout + checked.stderr
    assert {item["name"]: item["finding"] for item in json.loads(checked.stdout)["checks"]} == {
        **dict.fromkeys(("files", "records", "engine papers", "identity", "trial", "engine", "equivalence"), "passed"),
        "latency": "skipped",
        "accuracy": "passed",
    }


@pytest.mark.slow
def test_nothing_is_left_where_it_trained(folder, trained):
    assert trained.code == 0
    assert not list((folder / ".cache" / "finetune").iterdir())


@pytest.mark.slow
def test_samples_that_judge_never_train(folder):
    done = compiled(folder, f"{QUICK} --epochs 1", out="own")
    data = report_of(folder, "own")["data"]
    left = data["samples"] - data["evaluation_samples"]
    assert f"{left - left // 10} samples train, {left // 10} judge" in done.stderr


@pytest.mark.slow
def test_what_is_not_better_is_not_shipped(folder):
    done = compiled(folder, f"{QUICK} --epochs 1 --lr 1e-9 --batchnorm frozen", "--seed", 3, out="same")
    assert done.code == 0, done.stderr
    *_, pruned, tuned = report_of(folder, "same")["passes"]
    if tuned["status"] == "rolled back":
        assert tuned["reason"].startswith("not better: top1 of ")
        assert tuned["accuracy"]["value"] <= pruned["accuracy"]["value"]
    else:
        assert tuned["accuracy"]["value"] > pruned["accuracy"]["value"]


@pytest.mark.slow
def test_the_floor_is_judged_after_training(folder, trained):
    assert trained.code == 0
    *_, pruned, tuned = report_of(folder)["passes"]
    between = (pruned["accuracy"]["value"] + tuned["accuracy"]["value"]) / 2
    done = compiled(folder, f"{QUICK} --data train.npz --lr 0.05", "--min-accuracy", between, out="floor")
    assert done.code == 0, done.stdout
    assert [item["status"] for item in report_of(folder, "floor")["passes"]] == [
        "original",
        "unchanged",
        "kept",
        "kept",
    ]


@pytest.mark.slow
def test_a_floor_that_training_does_not_reach_leaves_the_original(folder):
    done = compiled(folder, f"{QUICK} --data train.npz", "--min-accuracy", 99.99, out="missed")
    assert done.code == 5, done.stdout
    statuses = [item["status"] for item in report_of(folder, "missed")["passes"]]
    assert statuses == ["original", "unchanged", "rolled back", "rolled back"]
    shipped = onnx.load(folder / "missed" / "model.onnx")
    assert [item.dims[0] for item in shipped.graph.initializer if item.name == "stem_weight"] == [32]
    assert prunec("verify", "missed", "--original", "net.onnx", cwd=folder).code == 0


@pytest.mark.slow
def test_training_that_fails_leaves_the_pruned_network_and_its_reason(folder):
    done = compiled(folder, "--epochs five", out="failed")
    assert done.code == 2
    report = report_of(folder, "failed")
    assert report["outcome"] == "fine-tuning failed"
    assert "argument --epochs: invalid int value: 'five'" in report["passes"][-1]["reason"]
    assert report["passes"][-2]["status"] == "kept"
    assert prunec("verify", "failed", "--original", "net.onnx", cwd=folder).code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--finetune", "--output here"), "--finetune: --output is given by the compile itself"),
        (("--finetune", "'"), "--finetune ': No closing quotation"),
        (("--finetune", "--data absent.npz"), "--finetune: absent.npz: no such file or folder; check the --data among"),
        (("--finetune", "--epochs 1", "--dry-run"), "--finetune trains what a dry run does not write"),
    ],
)
def test_training_that_makes_no_sense_is_refused_before_the_search(folder, options, message):
    done = prunec("compile", "net.onnx", *MODELLED, *options, "-o", "refused", cwd=folder)
    assert done.code == 2
    assert message in done.complaint
    assert not (folder / "refused").exists()


def test_training_needs_samples_that_judge(folder):
    options = [item for item in MODELLED if item not in ("--data", "data.npz")]
    done = prunec("compile", "net.onnx", *options, "--finetune", "--data train.npz", "-o", "refused", cwd=folder)
    assert done.code == 2
    assert "--finetune without data that judges the result; add --data" in done.complaint
