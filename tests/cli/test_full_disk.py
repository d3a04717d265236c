"""No room, or no right to write: one line and its code wherever it happens, and the earlier bundle stays whole."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from command import Result, arguments, environment, prunec

TINY = "multiprocessors=1,tile_rows=16,tile_columns=8,tile_depth=8"
COMPILE = ("compile", "net.onnx", "--data", "data.npz", "--strategy", "uniform", "-q")
MODELLED = (*COMPILE, "--target", "null", "--target-options", TINY)
IN_ANOTHER_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc"]
MOUNT = 'mount -t tmpfs -o "$0" tmpfs disk\n'
FULL = (
    "prunec: a file cannot be written: no space left on device; make room, or set TMPDIR (engines) and PRUNEC_CACHE "
    "(measurements) to folders that have more of it"
)


@cache
def can_mount() -> bool:
    """Tell whether this user may mount a disk of their own in a namespace of their own."""
    if not shutil.which("unshare"):
        return False
    script = [*IN_ANOTHER_NAMESPACE, "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(script, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(folder):
    """Run a command in a folder whose `disk` is one of its own; before it, a script."""
    if not can_mount():
        pytest.skip("this user may not mount a tmpfs in a namespace")
    (folder / "disk").mkdir()

    def run(*options, mount="size=1m", script='exec "$@"', **environ):
        done = subprocess.run(
            [*IN_ANOTHER_NAMESPACE, MOUNT + script, mount, *arguments(*options)],
            cwd=folder,
            env=environment(folder / ".cache", **{name: str(folder / value) for name, value in environ.items()}),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def test_a_full_output_disk_is_told_and_the_earlier_bundle_stays_whole(disk):
    script = """
        "$@" --budget 90%
        head -c 1G /dev/zero > disk/filler 2> filled || true
        code=0; "$@" --budget 60% || code=$?
        cd disk/out && sha256sum --quiet -c SHA256SUMS
        test "$(ls -A ..)" = "$(printf 'filler\\nout')"
        exit $code"""
    done = disk(*MODELLED, "-o", "disk/out", mount="size=2m", script=script)
    assert done.code == 2
    assert done.complaint == (
        "prunec: -o disk/out: cannot be written (No space left on device); name a folder that can be written"
    )


@pytest.mark.parametrize(("variable", "value"), [("PRUNEC_CACHE", "disk/cache"), ("TMPDIR", "disk")])
def test_a_full_disk_of_measurements_or_engines_is_told(variable, value, disk, folder):
    done = disk(*MODELLED, "--budget", "60%", "-o", "out", mount="size=4k", **{variable: value})
    assert (done.code, done.complaint) == (6, FULL)
    assert not (folder / "out").exists()


def test_a_runtime_that_finds_no_room_does_not_blame_the_model(disk, folder):
    done = disk(*COMPILE, "--budget", "60%", "-o", "out", mount="size=40k", TMPDIR="disk")
    assert (done.code, done.complaint) == (6, FULL)
    assert json.loads((folder / "out" / "report.json").read_text())["outcome"] == "failed"


def test_a_read_only_output_is_refused_before_anything_is_measured(disk):
    done = disk(*MODELLED, "--budget", "60%", "-o", "disk/out", mount="ro")
    assert done.code == 2
    assert "building and timing" not in done.stderr
    assert done.complaint == (
        "prunec: -o disk/out: cannot be written (Read-only file system); name a folder that can be written"
    )


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_measured(folder):
    (folder / "file").write_text("")
    found = prunec(*MODELLED, "--budget", "60%", "-o", "file/out", cwd=folder)
    assert (found.code, found.complaint) == (
        2,
        "prunec: -o file/out: cannot be written (Not a directory); name a folder that can be written",
    )


def test_a_full_stdout_is_told(folder):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            arguments("schema", "plan"),
            cwd=folder,
            env=environment(folder / ".cache"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (6, FULL + "\n")


def test_a_device_is_written_to_and_not_replaced(folder):
    (folder / "none").mkdir()
    full = prunec("verify", "none", "--junit", "/dev/full", cwd=folder)
    assert full.code == 2
    assert full.complaint.startswith("prunec: -o /dev/full: cannot be written (No space left on device)")
    assert Path("/dev/full").is_char_device()
    shown = prunec("verify", "none", "--markdown", "/dev/stdout", cwd=folder)
    assert shown.code == 3
    assert "## prunec verify: rejected" in shown.stdout
    assert Path("/dev/stdout").is_symlink()
