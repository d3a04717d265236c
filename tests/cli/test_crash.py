"""A compile that is killed or interrupted, and two at once: no broken bundle, and the same command goes on."""

import os
import resource
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from command import ROOT, arguments, environment, prunec

from toolchain.emit.report import Report

KILLS = 30
SECONDS_TO_END = 5.0
DIGITS = (
    "compile",
    ROOT / "models" / "digits_resnet.onnx",
    "--budget",
    "70%",
    "--data",
    ROOT / "models" / "digits.npz",
)
FEW = ("--calibration-samples", "64", "--evaluation-samples", "64", "-o", "out")
MEASURED = (*DIGITS, "--passes", "fold-batchnorm,prune(strategy=uniform),rematch", *FEW)
MODELLED = (*DIGITS, "--target", "null", "--passes", "fold-batchnorm,prune(strategy=halp),rematch", *FEW)


def start(folder: Path, *options: object) -> subprocess.Popen[str]:
    """Start a compile that keeps its cache and its temporary files in `folder`."""
    (folder / "temporary").mkdir(exist_ok=True)
    environ = environment(folder / ".cache", TMPDIR=str(folder / "temporary"))
    return subprocess.Popen(arguments(*options), cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)


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


def litter_of(folder: Path) -> list[str]:
    """Return what is left of half a bundle, and of engines that were being timed."""
    half = [path.name for path in folder.iterdir() if path.name.startswith(".out")]
    return half + [path.name for path in (folder / "temporary").glob("prunec-compile-*")]


def report_of(folder: Path) -> Report:
    return Report.model_validate_json((folder / "out" / "report.json").read_text())


def processor_seconds(process: int) -> float:
    """Return what a process that still runs has used, with the children it has waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def ended_processes_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class Ended:
    """How an interrupted compile ended; of the processor, since the clock is other programs' too."""

    code: int
    stderr: str
    seconds: float


def interrupted(folder: Path, at: str, number: signal.Signals, *options: object) -> Ended:
    """Send a signal when a compile says `at`."""
    earlier = ended_processes_seconds()
    child = start(folder, *options)
    wait_for(child, at)
    before = processor_seconds(child.pid)
    child.send_signal(number)
    stderr = child.communicate(timeout=120)[1]
    return Ended(child.returncode, stderr, ended_processes_seconds() - earlier - before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_leaves_the_best_so_far(tmp_path, number):
    ended = interrupted(tmp_path, "trial 2", number, *MEASURED)
    print(f"{number.name}: the best so far after {ended.seconds:.1f} s of the processor")
    assert ended.code == 130
    assert ended.seconds < SECONDS_TO_END
    assert whole_or_absent(tmp_path / "out")
    report = report_of(tmp_path)
    assert report.outcome == "interrupted"
    assert report.passes[-1].notes[-1] == "interrupted: the best so far, not repaired"
    assert report.passes[-1].latency.ratio < 1
    assert litter_of(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["loading", "building and timing", "writing the bundle"])
def test_an_interruption_with_nothing_to_ship_ends_in_a_line_and_leaves_the_earlier_bundle(tmp_path, moment):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("earlier")
    ended = interrupted(tmp_path, moment, signal.SIGTERM, *MODELLED)
    assert (ended.code, ended.stderr.splitlines()[-1]) == (130, "prunec: interrupted")
    assert "Traceback" not in ended.stderr
    assert ended.seconds < SECONDS_TO_END
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]
    assert litter_of(tmp_path) == []


@pytest.mark.slow
def test_an_interrupted_repair_leaves_the_pruned_network(tmp_path):
    ended = interrupted(tmp_path, "pass rematch", signal.SIGTERM, *MODELLED)
    assert ended.code == 130
    assert ended.seconds < SECONDS_TO_END
    assert whole_or_absent(tmp_path / "out")
    assert [item.name for item in report_of(tmp_path).passes] == ["original", "fold-batchnorm", "prune"]


@pytest.mark.slow
def test_a_killed_compile_goes_on_where_it_was(tmp_path):
    child = start(tmp_path, *MEASURED)
    wait_for(child, "trial 2")
    child.kill()
    child.communicate(timeout=60)
    assert not whole_or_absent(tmp_path / "out")
    done = prunec(*MEASURED, cwd=tmp_path)
    assert done.code in (0, 7)
    assert "measurements were used again" in done.stderr
    assert whole_or_absent(tmp_path / "out")
    assert list((tmp_path / ".cache" / "journals").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("options", [MODELLED, MEASURED], ids=["modelled", "measured"])
def test_thirty_kills_at_random_moments_break_nothing_and_change_no_plan(options, tmp_path, record_property):
    """The earlier bundle or a new one is there after every kill; modelled latencies give the undisturbed run's plan."""
    generator, moments = np.random.default_rng(0), Counter[str]()
    (undisturbed := tmp_path / "undisturbed").mkdir()
    (killed := tmp_path / "killed").mkdir()
    began = time.monotonic()
    assert finished(undisturbed, *options) in (0, 7)
    seconds = time.monotonic() - began
    assert finished(killed, *options, "--budget", "90%") in (0, 7)
    for _ in range(KILLS):
        child = start(killed, *options)
        time.sleep(generator.uniform(0.2, seconds))
        child.kill()
        said = child.communicate(timeout=60)[1].splitlines()
        moments[" ".join(said[-1].split()[:2]).rstrip("0123456789: ") if said else "nothing yet"] += 1
        assert whole_or_absent(killed / "out")
    assert finished(killed, *options) in (0, 7)
    assert whole_or_absent(killed / "out")
    assert litter_of(killed) == []
    assert "damaged" not in (listed := prunec("store", "list", cwd=killed)).stderr
    assert listed.code == 0
    figure = f"{KILLS} of {KILLS} kills survived, after: {dict(moments.most_common())}"
    record_property("kills", figure)
    print(figure)
    assert len(moments) > 3
    if options is MODELLED:
        for name in ("plan.json", "model.onnx", "engine/engine.json"):
            assert (killed / "out" / name).read_bytes() == (undisturbed / "out" / name).read_bytes(), name


def finished(folder: Path, *options: object) -> int:
    child = start(folder, *options)
    child.communicate(timeout=600)
    return child.returncode


@pytest.mark.slow
def test_two_compiles_at_once_take_turns_and_leave_one_whole_bundle(tmp_path):
    children = [start(tmp_path, *MEASURED) for _ in range(2)]
    endings = [child.communicate(timeout=600)[1] for child in children]
    assert sorted(child.returncode for child in children) in ([0, 0], [0, 7], [7, 7])
    assert sum("waiting: process" in text for text in endings) == 1
    assert whole_or_absent(tmp_path / "out")
    assert litter_of(tmp_path) == []
