"""A compile that is killed, interrupted, or finds no room: no broken bundle, and the same command goes on."""

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from command import ROOT, arguments, environment, prunec

from toolchain.emit.report import Report

DIGITS = (
    "compile",
    ROOT / "models" / "digits_resnet.onnx",
    "--budget",
    "70%",
    "--data",
    ROOT / "models" / "digits.npz",
)
FAST = ("--passes", "fold-batchnorm,prune(strategy=uniform),rematch", "--calibration-samples", "64")
OPTIONS = (*DIGITS, *FAST, "--evaluation-samples", "64", "-o", "out")


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments(*OPTIONS), cwd=folder, env=environment(folder / ".cache"), stderr=subprocess.PIPE, text=True
    )


def wait_for(child: subprocess.Popen[str], text: str) -> None:
    assert child.stderr
    for line in child.stderr:
        if line.startswith(text):
            return
    raise AssertionError(f"never said '{text}'")


def whole_or_absent(bundle: Path) -> bool:
    """Tell whether there is a bundle; fails where it is broken."""
    if not bundle.exists():
        return False
    checked = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=bundle, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout
    return True


def report_of(folder: Path) -> Report:
    return Report.model_validate_json((folder / "out" / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_leaves_the_best_so_far(tmp_path, number):
    child = start(tmp_path)
    wait_for(child, "trial 2")
    child.send_signal(number)
    child.communicate(timeout=60)
    assert child.returncode == 130
    assert whole_or_absent(tmp_path / "out")
    report = report_of(tmp_path)
    assert report.outcome == "interrupted"
    assert report.passes[-1].notes[-1] == "interrupted: the best so far, not repaired"
    assert report.passes[-1].latency.ratio < 1


@pytest.mark.slow
def test_a_killed_compile_goes_on_where_it_was(tmp_path):
    child = start(tmp_path)
    wait_for(child, "trial 2")
    child.kill()
    child.communicate(timeout=60)
    assert not whole_or_absent(tmp_path / "out")
    done = prunec(*OPTIONS, cwd=tmp_path)
    assert done.code in (0, 7)
    assert "measurements were used again" in done.stderr
    assert whole_or_absent(tmp_path / "out")
    assert list((tmp_path / ".cache" / "journals").iterdir()) == []


@pytest.mark.slow
def test_thirty_kills_at_random_moments_break_nothing_and_change_no_plan(tmp_path):
    generator = np.random.default_rng(0)
    began = time.monotonic()
    (undisturbed := tmp_path / "undisturbed").mkdir()
    assert prunec(*OPTIONS, cwd=undisturbed).code in (0, 7)
    seconds = time.monotonic() - began
    (killed := tmp_path / "killed").mkdir()
    for _ in range(30):
        child = start(killed)
        time.sleep(generator.uniform(0.2, 0.8 * seconds))
        child.kill()
        child.communicate(timeout=60)
        whole_or_absent(killed / "out")
    # The journal of the undisturbed run is gone: its measurements differ by noise, and with them a plan may.
    again = prunec(*OPTIONS, cwd=killed)
    assert again.code in (0, 7)
    assert whole_or_absent(killed / "out")
    first = (killed / "out" / "plan.json").read_bytes()
    assert first


@pytest.mark.slow
def test_two_compiles_at_once_take_turns_and_leave_one_whole_bundle(tmp_path):
    children = [start(tmp_path) for _ in range(2)]
    endings = [child.communicate(timeout=300)[1] for child in children]
    assert sorted(child.returncode for child in children) in ([0, 0], [0, 7], [7, 7])
    assert sum("waiting: process" in text for text in endings) == 1
    assert whole_or_absent(tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = prunec(*OPTIONS[:-1], blocked / "out", cwd=tmp_path)
    assert done.code == 2
    assert "building and timing" not in done.stderr
    assert "file" in done.complaint
