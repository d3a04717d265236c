import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from latencies import MORNING, NOON, entry, identity, signature

from toolchain.errors import DataError, EnvironmentMissing, UsageError
from toolchain.store.latency_store import LatencyStore, default_path, read_store

ROOT = Path(__file__).parents[2]
WRITE = """
import sys
from itertools import count
from pathlib import Path
from latencies import entry
from toolchain.store.latency_store import LatencyStore

first, last = int(sys.argv[2]), int(sys.argv[3])
with LatencyStore(Path(sys.argv[1]), sys.exit) as store:
    for width in range(first, last, 2):
        store.merge([entry(width), entry(width + 1)])
        print(width, flush=True)
"""


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "cache" / "latency.sqlite"


def opened(path: Path) -> LatencyStore:
    """Open a store about which there is nothing to warn."""
    return LatencyStore(path, pytest.fail)


def writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    """Start a process that writes pairs of entries, each pair at once, and prints when one is written."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-c", WRITE, str(path), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_what_was_put_is_found_again(path):
    with opened(path) as store:
        store.put(entry())
        assert store.get(identity(), signature()) == entry()
    with opened(path) as store:
        assert store.get(identity(), signature()) == entry()
        assert store.entries() == [entry()]


def test_another_machine_or_layer_is_not_found(path):
    with opened(path) as store:
        store.put(entry())
        assert store.get(identity("another"), signature()) is None
        assert store.get(identity(), signature(65)) is None


@pytest.mark.parametrize("order", [(MORNING, NOON), (NOON, MORNING)])
def test_the_later_of_two_stays_whatever_comes_first(order, path):
    with opened(path) as store:
        for created_at in order:
            store.put(entry(created_at=created_at, median_ms=created_at.hour))
        assert [found.latency.median_ms for found in store.entries()] == [NOON.hour]


@pytest.mark.parametrize("order", [(1.0, 2.0), (2.0, 1.0)])
def test_of_two_of_one_moment_the_same_stays_whatever_comes_first(order, path):
    with opened(path) as store:
        for median_ms in order:
            store.put(entry(median_ms=median_ms))
        assert [found.latency.median_ms for found in store.entries()] == [2.0]


def test_merging_again_changes_nothing(path):
    several = [entry(), entry(65), entry(device="another")]
    with opened(path) as store:
        assert store.merge(several) == 3
        before = store.entries()
        assert store.merge(several) == 0
        assert store.entries() == before
        assert {found.latency.identity.device for found in before} == {"a processor", "another"}


def test_processes_that_write_at_once_lose_nothing(path):
    with writer(path, 0, 200) as one, writer(path, 100, 300) as two, writer(path, 200, 400) as three:
        assert [process.wait(60) for process in (one, two, three)] == [0, 0, 0]
    with opened(path) as store:
        assert sorted(found.signature.input_width for found in store.entries()) == list(range(400))


@pytest.mark.parametrize("pairs", [1, 10, 57])
def test_a_killed_writer_leaves_whole_pairs_and_a_valid_store(pairs, path):
    with writer(path, 0, 10**6) as process:
        for _ in range(pairs):
            process.stdout.readline()
        process.kill()
    with opened(path) as store:
        count = len(store.entries())
        assert count >= 2 * pairs
        assert count % 2 == 0
        store.put(entry(10**7))


def ruin_all(content: bytes) -> bytes:
    return b"\xff" * len(content)


def ruin_the_middle(content: bytes) -> bytes:
    return content[:4096] + b"\xff" * 4096 + content[8192:]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("damage", [ruin_all, ruin_the_middle, cut, lambda _: b"latencies"])
def test_a_damaged_file_is_moved_aside_with_a_warning(damage, path):
    with opened(path) as store:
        store.merge(entry(width) for width in range(50))
    path.write_bytes(damage(path.read_bytes()))
    damaged = path.read_bytes()
    warnings: list[str] = []
    with LatencyStore(path, warnings.append) as store:
        assert store.entries() == []
        store.put(entry())
    aside = min(path.parent.glob("latency.sqlite.damaged-*"))
    assert aside.read_bytes() == damaged
    assert warnings == [f"the latency store {path} is damaged; a new one is begun, the old one is {aside}"]
    with opened(path) as store:
        assert store.entries() == [entry()]


def test_an_empty_file_is_an_empty_store(path):
    path.parent.mkdir()
    path.touch()
    with opened(path) as store:
        assert store.entries() == []


@pytest.mark.parametrize("document", ["{", "{}"])
def test_an_unreadable_entry_is_none_and_can_be_measured_again(document, path):
    with opened(path) as store:
        store.merge([entry(), entry(65)])
    change(path, f"UPDATE entry SET document = '{document}' WHERE key = '{entry().key}'")
    with opened(path) as store:
        assert store.get(identity(), signature()) is None
        assert store.entries() == [entry(65)]
        store.put(entry(created_at=NOON))
        assert store.get(identity(), signature()) == entry(created_at=NOON)


def test_an_entry_under_a_foreign_key_is_not_believed(path):
    with opened(path) as store:
        store.put(entry())
    change(path, f"UPDATE entry SET key = '{entry(65).key}'")
    with opened(path) as store:
        assert store.get(identity(), signature(65)) is None


def test_what_was_timed_on_a_busy_machine_is_timed_again_on_a_calm_one(path):
    busy, calm = entry(waiting_share=0.8), entry(created_at=NOON, median_ms=1.0, waiting_share=0.02)
    with LatencyStore(path, pytest.fail, lambda: 0.7) as store:
        store.put(busy)
        assert store.get(identity(), signature()) == busy
    with LatencyStore(path, pytest.fail, lambda: 0.1) as store:
        assert store.get(identity(), signature()) is None
        assert store.entries() == [busy]
        store.put(calm)
        assert store.get(identity(), signature()) == calm


def test_a_store_of_a_newer_version_is_left_alone(path):
    with opened(path) as store:
        store.put(entry())
    change(path, "PRAGMA user_version = 2")
    before = path.read_bytes()
    message = r"was written by a newer prunec \(schema 2, this one knows 1\); update prunec, or set PRUNEC_CACHE"
    with pytest.raises(EnvironmentMissing, match=message):
        opened(path)
    with pytest.raises(EnvironmentMissing, match=message):
        read_store(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.glob("*damaged*")] == []


def test_a_folder_that_cannot_be_made_is_a_usage_error(path):
    path.parent.write_text("")
    with pytest.raises(UsageError, match=r"^the latency store .* cannot be used: .*; set PRUNEC_CACHE to a folder"):
        opened(path)


def test_another_store_is_read_and_not_changed(path, tmp_path):
    with opened(path) as store:
        store.put(entry(device="another"))
    before = {file: file.read_bytes() for file in path.parent.glob("latency*")}
    with opened(tmp_path / "own.sqlite") as own:
        assert own.merge(read_store(path)) == 1
        assert own.entries() == [entry(device="another")]
    assert {file: file.read_bytes() for file in path.parent.glob("latency*")} == before


@pytest.mark.parametrize("content", [None, b"latencies" * 1000, b""])
def test_what_is_no_store_cannot_be_merged(content, tmp_path):
    other = tmp_path / "other.sqlite"
    if content is not None:
        other.write_bytes(content)
    with pytest.raises(DataError, match=r"other.sqlite cannot be read as a latency store: "):
        read_store(other)
    assert content is None or other.read_bytes() == content


def test_it_lies_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path))
    assert default_path() == tmp_path / "latency.sqlite"
