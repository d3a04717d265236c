import signal
import subprocess
import sys

import pytest

from toolchain.scratch import scratch_folder

HOLDER = """import sys, time
from pathlib import Path
from toolchain.scratch import scratch_folder
with scratch_folder("half-", Path(sys.argv[1])) as folder:
    (folder / "engine").write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process in the middle of its work, and the folder it works in."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        yield process, tmp_path / process.stdout.readline().strip()
        process.kill()


def test_the_folder_is_gone_when_the_block_ends(tmp_path):
    with scratch_folder("half-", tmp_path) as folder:
        (folder / "file").write_text("")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), scratch_folder("half-", tmp_path) as folder:
        (folder / "file").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path, holder):
    process, left = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left.exists()
    with scratch_folder("half-", tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_what_others_work_in_stays(tmp_path, holder):
    _, theirs = holder
    for name in ("other", "half-a-file"):
        (tmp_path / name).write_text("")
    with scratch_folder("half-", tmp_path) as outer, scratch_folder("half-", tmp_path) as inner:
        assert {theirs, outer, inner} < set(tmp_path.iterdir())
    assert (theirs / "engine").read_text() == "half"
    assert {path.name for path in tmp_path.iterdir()} == {theirs.name, "other", "half-a-file"}


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    (tmp_path / "half-link").symlink_to(tmp_path / "mine")
    with scratch_folder("half-", tmp_path):
        pass
    assert (tmp_path / "mine" / "file").exists()
