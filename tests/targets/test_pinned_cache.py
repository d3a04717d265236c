import logging
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain.targets.pinned_cache import ASIDE_SUFFIX, cache_path, pinned_cache

ADD = """
import sys
from pathlib import Path
from toolchain.targets.pinned_cache import pinned_cache

for _ in range(20):
    with pinned_cache(Path(sys.argv[1]), "owner") as working:
        count = int(working.read_text()) if working.exists() else 0
        working.write_text(str(count + 1))
"""


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "timings" / "one.cache"


def keep(path: Path, content: bytes, owner: str = "owner") -> None:
    with pinned_cache(path, owner) as working:
        working.write_bytes(content)


def kept(path: Path, owner: str = "owner") -> bytes | None:
    with pinned_cache(path, owner) as working:
        return working.read_bytes() if working.exists() else None


def test_what_was_kept_is_lent_again(path, caplog):
    assert kept(path) is None
    keep(path, b"timings\nof\nkernels")
    assert kept(path) == b"timings\nof\nkernels"
    assert caplog.messages == []


def cut(content: bytes) -> bytes:
    return content[:-1]


def turn_a_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [cut, turn_a_bit, lambda _: b"", lambda _: b"something else\nentirely"])
def test_a_damaged_cache_is_one_warning_and_a_new_one_and_is_not_lost(damage, path, caplog):
    keep(path, b"timings")
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    assert kept(path) is None
    aside = path.with_name(path.name + ASIDE_SUFFIX)
    message = f"the cache {path} is damaged or was made elsewhere; a new one is begun, the old one is {aside}"
    assert caplog.record_tuples == [("toolchain.targets.pinned_cache", logging.WARNING, message)]
    assert aside.read_bytes() == damaged
    keep(path, b"new timings")
    assert kept(path) == b"new timings"


def test_the_cache_of_another_owner_is_not_believed(path, caplog):
    keep(path, b"timings")
    assert kept(path, "another") is None
    assert len(caplog.messages) == 1


def test_a_block_that_fails_leaves_the_cache_as_it_was(path):
    keep(path, b"timings")
    with pytest.raises(RuntimeError), pinned_cache(path, "owner") as working:
        working.write_bytes(b"half written")
        raise RuntimeError
    assert kept(path) == b"timings"


def test_processes_that_use_it_at_once_take_turns(path):
    command = [sys.executable, "-c", ADD, str(path)]
    processes = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert kept(path) == b"60"
    assert [item.name for item in path.parent.iterdir() if item.is_file()] == [path.name]


def test_what_cannot_be_written_is_a_warning(path, caplog):
    path.mkdir(parents=True)
    keep(path, b"timings")
    assert [message.partition(":")[0] for message in caplog.messages] == [
        f"the cache {path} cannot be read (Is a directory); a new one is begun",
        f"the cache {path} cannot be written",
    ]


def test_caches_lie_by_kind_and_owner(monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path))
    assert cache_path("timings", "0a1b") == tmp_path / "timings" / "0a1b.cache"
