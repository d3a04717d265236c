import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import onnx
import pytest
from command import ROOT, arguments, environment, prunec
from oracle import graph

from toolchain.emit.report import Report

TINY = "multiprocessors=1,tile_rows=16,tile_columns=8,tile_depth=8"
MODELLED = ("--target", "null", "--target-options", TINY, "--strategy", "uniform")


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".cache")


def test_a_met_budget_is_0_and_a_table_on_stdout(folder):
    done = prunec("compile", "net.onnx", "--budget", "60%", *MODELLED, "--data", "data.npz", "-o", "out", cwd=folder)
    assert done.code == 0
    assert re.search(r"│ prune +│ kept +│ [\d.]+ ms .* modelled +│ .*[\d.]+ % \[", done.stdout)
    assert re.search(r"^budget met: [\d.]+ % of the original latency for a budget of 60%$", done.stdout, re.M)
    assert "note: target null models latencies: no number here was measured" in done.stdout
    assert done.stdout.endswith("bundle: out\n")
    assert names(folder) == ["data.npz", "net.onnx", "out"]
    onnx.checker.check_model(onnx.load(folder / "out" / "model.onnx"), full_check=True)


def test_why_nothing_came_of_a_pass_is_said_where_it_ran(folder):
    done = prunec("compile", "net.onnx", "--budget", "60%", *MODELLED, "--data", "data.npz", "-o", "out", cwd=folder)
    assert re.search(r"^fold-constants unchanged: .* \(nothing to fold\)$", done.stderr, re.M)


def test_a_network_with_control_flow_is_pruned_around_it(folder):
    """The If reads what the second convolution makes, so that stays; the first and the third can go."""
    branch = "() => (float[N,16,8,8] {0}) {{ {0} = {1}(b) }}"
    model = graph(
        f"""net (float[N,3,8,8] x) => (float[N,4] scores) <
            float zero = {{0}}, float[24,3,3,3] w1, float[16,24,3,3] w2, float[32,16,3,3] w3, float[4,32] w4
        > {{
            first = Conv<pads=[1,1,1,1]>(x, w1) a = Relu(first) second = Conv<pads=[1,1,1,1]>(a, w2) b = Relu(second)
            mean = ReduceMean<keepdims=0>(x) flag = Greater(mean, zero)
            chosen = If(flag) <
                then_branch = one {branch.format("t", "Tanh")}, else_branch = other {branch.format("e", "Neg")}
            >
            third = Conv<pads=[1,1,1,1]>(chosen, w3) c = Relu(third)
            pooled = GlobalAveragePool(c) flat = Flatten(pooled) scores = Gemm<transB=1>(flat, w4)
        }}"""
    )
    onnx.save(model, folder / "net.onnx")
    options = ("--budget", "80%", "--target", "null", "--target-options", TINY)
    done = prunec("compile", "net.onnx", *options, "--data", "data.npz", "-o", "out", cwd=folder)
    assert done.code == 0, done.stderr
    pruned = onnx.load(folder / "out" / "model.onnx")
    assert [node.op_type for node in pruned.graph.node].count("If") == 1
    sizes = {item.name: list(item.dims) for item in pruned.graph.initializer}
    assert sizes["w2"][0] == 16
    assert sizes["w1"][0] < 24 or sizes["w3"][0] < 32


def test_json_is_alone_on_stdout_and_what_the_bundle_holds(folder):
    done = prunec("compile", "net.onnx", "--budget", "60%", *MODELLED, "-o", "out", "--json", cwd=folder)
    assert done.code == 0
    assert Report.model_validate_json(done.stdout) == Report.model_validate_json(
        (folder / "out" / "report.json").read_text()
    )
    assert "pass prune" in done.stderr


def test_without_a_terminal_there_is_no_bar_and_no_colour(folder):
    done = prunec("compile", "net.onnx", "--budget", "60%", *MODELLED, "-o", "out", cwd=folder)
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    assert done.stderr.startswith("loading net.onnx\n")


def test_quiet_leaves_stderr_empty(folder):
    done = prunec("compile", "net.onnx", "--budget", "60%", *MODELLED, "-o", "out", "--quiet", cwd=folder)
    assert (done.code, done.stderr) == (0, "")


def test_a_dry_run_prints_the_plan_and_writes_nothing(folder):
    options = ("--budget", "60%", *MODELLED, "-o", "deep/out", "--dry-run")
    done = prunec("compile", "net.onnx", *options, cwd=folder)
    assert done.code == 0
    assert re.search(r"│ stem +│ 32 +│ \d+ +│", done.stdout)
    assert done.stdout.endswith("dry run: nothing was written\n")
    assert names(folder) == ["data.npz", "net.onnx"]


def test_a_missed_budget_is_4_with_the_best_in_the_bundle(folder):
    done = prunec("compile", "net.onnx", "--budget", "1%", *MODELLED, "-o", "out", cwd=folder)
    assert done.code == 4
    assert "budget missed: " in done.stdout
    assert json.loads((folder / "out" / "report.json").read_text())["exit_code"] == 4
    assert (folder / "out" / "model.onnx").exists()


def test_a_missed_floor_is_5_and_the_original_ships(folder):
    floor = ("--data", "data.npz", "--metric", "fidelity", "--min-accuracy", "100")
    done = prunec(
        "compile", "net.onnx", "--budget", "20%", "--criterion", "l2", *MODELLED, *floor, "-o", "out", cwd=folder
    )
    assert done.code == 5
    assert re.search(r"accuracy floor missed: below the floor: fidelity of \d+\.\d+, floor 100", done.stdout)
    original, shipped = (onnx.load(path) for path in (folder / "net.onnx", folder / "out" / "model.onnx"))
    assert [item.dims for item in shipped.graph.initializer] == [item.dims for item in original.graph.initializer]


def test_no_budget_is_needed_to_fold(folder):
    done = prunec("compile", "net.onnx", "--preset", "fold", "--target", "null", "-o", "out", cwd=folder)
    assert done.code == 0
    assert "done: there was no budget to meet" in done.stdout


def test_the_pipeline_of_a_bundle_can_be_used_again(folder):
    first = prunec("compile", "net.onnx", "--budget", "60%", *MODELLED, "-o", "first", "-q", cwd=folder)
    target = ("--target", "null", "--target-options", TINY)
    again = ("--config", "first/pipeline.toml", *target, "-o", "second", "-q")
    second = prunec("compile", "net.onnx", "--budget", "60%", *again, cwd=folder)
    assert first.code == second.code == 0
    for name in ("model.onnx", "plan.json", "pipeline.toml"):
        assert (folder / "second" / name).read_bytes() == (folder / "first" / name).read_bytes()


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_errors_are_red_on_a_terminal_unless_no_color_asks_otherwise(folder, no_color, coloured):
    master, slave = pty.openpty()
    changes = {"TERM": "xterm-256color", **({"NO_COLOR": no_color} if no_color else {})}
    environ = environment(folder / ".cache", **changes)
    child = subprocess.Popen(arguments("inspect", "none.onnx"), cwd=folder, env=environ, stderr=slave)
    os.close(slave)
    text = b""
    while select.select([master], [], [], 60)[0]:
        try:
            text += os.read(master, 4096)
        except OSError:  # The other end is closed.
            break
    os.close(master)
    assert child.wait() == 2
    assert b"none.onnx: no such file" in text
    assert (b"\x1b[31m" in text) == coloured


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_soon_with_130_and_no_litter(folder, tmp_path_factory, number):
    temporary = tmp_path_factory.mktemp("temporary")
    environ = environment(folder / ".cache", TMPDIR=str(temporary))
    options = arguments("compile", "net.onnx", "--budget", "1%", "--target-options", "threads=1", "-o", "out")
    child = subprocess.Popen(options, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if line.startswith("building and timing"):
            break
    child.send_signal(number)
    sent = time.monotonic()
    rest = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert time.monotonic() - sent < 20
    assert rest.splitlines()[-1] == "prunec: interrupted"
    assert names(folder) == ["data.npz", "net.onnx"]
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_the_quick_start_meets_its_budget_in_an_independent_bench(tmp_path):
    models = ROOT / "models"
    options = ("--budget", "60%", "--data", models / "digits.npz", "--target-options", "threads=1", "-o", "out")
    done = prunec("compile", models / "digits_resnet.onnx", *options, cwd=tmp_path)
    assert done.code == 0, done.stderr
    pair = (models / "digits_resnet.onnx", Path("out/model.onnx"))
    found = prunec("bench", *pair, "--target-options", "threads=1", "--json", cwd=tmp_path)
    report = Report.model_validate_json((tmp_path / "out" / "report.json").read_text())
    ratio = json.loads(found.stdout)["ratio"]
    assert report.passes[-1].latency.ratio <= 0.6
    assert ratio <= 0.6 * 1.05  # Another run on a shared machine.
    assert report.passes[-1].accuracy.value >= report.passes[0].accuracy.value - 5
