import subprocess
import sys
from pathlib import Path

import pytest

from toolchain.measure.cache import cache_folder
from toolchain.measure.lock import device_lock

HOLD = """
import sys
from pathlib import Path
from toolchain.measure.lock import device_lock
with device_lock("gpu", print, Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_waits_and_says_for_whom(holder, tmp_path):
    messages: list[str] = []

    def free(message: str) -> None:
        messages.append(message)
        holder.stdin.close()

    with device_lock("gpu", free, tmp_path):
        assert messages == [f"waiting: process {holder.pid} is using gpu"]


def test_a_killed_holder_holds_nothing(holder, tmp_path):
    with device_lock("gpu", lambda _: holder.kill(), tmp_path):
        assert holder.wait() == -9


def test_other_devices_are_free(holder, tmp_path):
    messages: list[str] = []
    with device_lock("cpu", messages.append, tmp_path):
        assert messages == []
    assert holder.poll() is None


def test_the_lock_can_be_taken_again(tmp_path):
    for _ in range(2):
        with device_lock("gpu", pytest.fail, tmp_path):
            pass


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("PRUNEC_CACHE", raising=False)
    assert cache_folder() == tmp_path / "home" / ".cache" / "prunec"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "prunec"
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder().is_dir()


def test_without_a_folder_to_write_the_cache_is_temporary(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path / "file" / "cache"))
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder().parent == Path(tmp_path)
