import os
import subprocess
from pathlib import Path

import onnx
import pytest
from small import network

from toolchain.emit.bundle import REPORT, check_output, new_bundle, replaced, save_model, write_checksums
from toolchain.errors import UsageError


@pytest.fixture
def bundle(tmp_path):
    """A bundle that was there before."""
    with new_bundle(tmp_path / "build") as folder:
        (folder / REPORT).write_text("old")
    return tmp_path / "build"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_whole_and_nothing_else_does(tmp_path):
    with new_bundle(tmp_path / "deep" / "build") as folder:
        (folder / REPORT).write_text("new")
        assert not (tmp_path / "deep" / "build").exists()
    assert names(tmp_path / "deep") == ["build"]
    assert names(tmp_path / "deep" / "build") == [REPORT]


def test_a_new_bundle_replaces_the_old_one_whole(bundle):
    (bundle / "stale").write_text("")
    with new_bundle(bundle) as folder:
        (folder / REPORT).write_text("new")
    assert names(bundle) == [REPORT]
    assert (bundle / REPORT).read_text() == "new"
    assert names(bundle.parent) == ["build"]


def test_the_two_change_places_in_one_step(bundle, monkeypatch):
    """A kill between two renames would leave no bundle: there is none to come between."""

    def between(path, other):
        raise AssertionError(f"{path} was renamed to {other}")

    monkeypatch.setattr(Path, "rename", between)
    with new_bundle(bundle) as folder:
        (folder / REPORT).write_text("new")
    assert (bundle / REPORT).read_text() == "new"
    assert names(bundle.parent) == ["build"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        with replaced(tmp_path / "pipe") as path:
            path.write_text("checks")
        assert reader.communicate()[0] == "checks"
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_bundle_and_no_litter(bundle, error):
    with pytest.raises(error), new_bundle(bundle) as folder:
        (folder / REPORT).write_text("half")
        raise error
    assert (bundle / REPORT).read_text() == "old"
    assert names(bundle.parent) == ["build"]


def test_a_rename_that_fails_brings_the_old_bundle_back(bundle):
    with pytest.raises(UsageError, match=r"^-o .*build: cannot be written"), new_bundle(bundle) as folder:
        folder.rename(folder.parent / "elsewhere")
    assert (bundle / REPORT).read_text() == "old"
    assert names(bundle.parent) == ["build"]


def test_a_full_or_failing_disk_is_told_in_one_line(bundle):
    with (
        pytest.raises(UsageError, match=r"^-o .*build: cannot be written \(No space left on device\); name a folder"),
        new_bundle(bundle),
    ):
        raise OSError(28, "No space left on device")


def test_a_new_an_empty_and_a_bundles_folder_are_welcome(bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "deep" / "new", tmp_path / "empty", bundle):
        check_output(folder)
    assert names(tmp_path) == ["build", "empty"]  # Asking makes no folder.


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"holds something other than a bundle; name a new folder$"):
        check_output(tmp_path)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file: a file is in the way; name a folder$"):
        check_output(tmp_path / "file")
    with pytest.raises(UsageError, match=r"file/build: cannot be written \(Not a directory\)"):
        check_output(tmp_path / "file" / "build")


def test_a_folder_that_cannot_be_renamed_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for folder in (tmp_path / "here", Path()):
        with pytest.raises(
            UsageError, match=r"the folder you are in, cannot be replaced by a bundle; name a folder in"
        ):
            check_output(folder)


def test_a_place_that_takes_no_files_is_refused():
    with pytest.raises(
        UsageError, match=r"^-o /proc/build: cannot be written \(.*\); name a folder that can be written$"
    ):
        check_output(Path("/proc/build"))


def test_checksums_are_those_of_sha256sum(tmp_path):
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "engine.onnx").write_bytes(b"engine")
    (tmp_path / "model with spaces.onnx").write_bytes(b"model")
    write_checksums(tmp_path)
    check = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert check.stdout.splitlines() == ["engine/engine.onnx: OK", "model with spaces.onnx: OK"]


def test_a_model_reads_back_as_it_was_and_equal_models_are_equal_bytes(tmp_path):
    model = network()
    save_model(model, tmp_path / "first.onnx")
    save_model(network(), tmp_path / "second.onnx")
    assert onnx.load(tmp_path / "first.onnx") == model
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
