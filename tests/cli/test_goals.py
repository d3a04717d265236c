"""Other goals than one latency: several budgets, counts, and the fastest within an accuracy."""

import json

import numpy as np
import pytest
from command import prunec

TINY = "multiprocessors=1,tile_rows=16,tile_columns=8,tile_depth=8"
MODELLED = ("--target", "null", "--target-options", TINY, "--strategy", "uniform", "--quiet")


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def test_several_budgets_give_a_bundle_each_and_a_front(folder):
    done = prunec("compile", "net.onnx", "--pareto", "90,50%", *MODELLED, "-o", "out", cwd=folder)
    assert done.code == 0
    ratios = [report_of(folder / "out" / name)["passes"][-1]["latency"]["ratio"] for name in ("90", "50")]
    assert ratios[1] <= 0.5 < ratios[0] <= 0.9
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["50", "90", "front.json", "front.md"]
    assert done.stdout.count("budget met") == 2
    front = json.loads((folder / "out" / "front.json").read_text())
    assert [(item["budget"], item["bundle"]) for item in front["points"]] == [("90%", "90"), ("50%", "50")]
    assert [item["latency"]["ratio"] for item in front["points"]] == ratios
    lines = (folder / "out" / "front.md").read_text().splitlines()
    assert [line.split(" | ")[:2] for line in lines[-2:]] == [
        ["| [90%](90/report.md)", "budget met"],
        ["| [50%](50/report.md)", "budget met"],
    ]


def test_a_dry_run_of_several_budgets_writes_no_front(folder):
    done = prunec("compile", "net.onnx", "--pareto", "90,50%", *MODELLED, "-o", "out", "--dry-run", cwd=folder)
    assert done.code == 0
    assert not (folder / "out").exists()


def test_a_front_as_json_is_a_list_of_reports(folder):
    done = prunec("compile", "net.onnx", "--pareto", "90,50%", *MODELLED, "-o", "out", "--json", cwd=folder)
    assert [report["budget"] for report in json.loads(done.stdout)] == ["90%", "50%"]


def test_the_worst_of_several_budgets_is_the_exit_code(folder):
    done = prunec("compile", "net.onnx", "--pareto", "80,1%", *MODELLED, "-o", "out", cwd=folder)
    assert done.code == 4
    assert (folder / "out" / "1" / "model.onnx").is_file()


@pytest.mark.parametrize(("option", "count"), [("--macs", "macs"), ("--params", "parameters")])
def test_counts_can_be_limited_instead_of_the_latency(folder, option, count):
    done = prunec("compile", "net.onnx", option, "50%", *MODELLED, "-o", "out", cwd=folder)
    assert done.code == 0, done.stderr
    passes = report_of(folder / "out")["passes"]
    assert 0 < passes[-1][count] <= 0.5 * passes[0][count]


def test_the_fastest_within_an_accuracy_drop_is_found(folder):
    goal = ("--max-accuracy-drop", "20", "--data", "data.npz", "--metric", "fidelity")
    done = prunec("compile", "net.onnx", *goal, *MODELLED, "-o", "out", cwd=folder)
    assert done.code == 0, done.stderr
    report = report_of(folder / "out")
    assert report["passes"][-1]["accuracy"]["value"] >= 80
    assert report["passes"][-1]["latency"]["ratio"] < 1


def test_a_drop_that_nothing_exceeds_gives_the_fastest_there_is(folder):
    """The bisection went on to budgets that nothing reaches, and called the last of them missed."""
    goal = ("--max-accuracy-drop", "100", "--data", "data.npz", "--metric", "fidelity")
    done = prunec("compile", "net.onnx", *goal, *MODELLED, "-o", "out", cwd=folder)
    assert done.code == 0, done.stderr
    report = report_of(folder / "out")
    assert "budget met" in done.stdout
    assert report["passes"][-1]["latency"]["ratio"] < 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pareto", "90,50%", "--budget", "60%"), "--pareto says itself how fast to become"),
        (("--max-accuracy-drop", "1"), "--max-accuracy-drop without data cannot be checked"),
        (("--macs", "4ms"), "--macs 4ms: not a share"),
        (("--pareto", "80,80%"), "a budget is given twice"),
    ],
)
def test_goals_that_make_no_sense_are_refused_in_one_line(folder, options, message):
    done = prunec("compile", "net.onnx", *options, *MODELLED, "-o", "out", cwd=folder)
    assert done.code == 2
    assert message in done.complaint


def test_labels_that_no_metric_uses_are_named(folder):
    """One class a column, as Keras has it, were left out without a word."""
    images = np.random.default_rng(0).standard_normal((12, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", x=images, y=np.eye(4)[np.arange(12) % 4])
    done = prunec(
        *("compile", "net.onnx", "--macs", "70%", *MODELLED, "--data", "data.npz", "-o", "out", "--dry-run"), cwd=folder
    )
    assert (
        "note: the labels (float64 [12, 4]) were not used: accuracy is fidelity to the original model; top1 takes one "
        "integer a sample, all else a --metric FILE.py:function"
    ) in done.stdout
