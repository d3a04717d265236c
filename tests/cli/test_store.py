from pathlib import Path

import pytest
from command import prunec
from latencies import NOON, entry

from toolchain.store.entry import Entry
from toolchain.store.json_lines import to_lines
from toolchain.store.latency_store import LatencyStore

CACHE = ".cache"


def filled(folder: Path, *entries: Entry) -> Path:
    """Make a store in a folder, in which `prunec` then runs."""
    path = folder / CACHE / "latency.sqlite"
    with LatencyStore(path, pytest.fail) as store:
        store.merge(entries)
    return path


def exported(path: Path, *entries: Entry) -> Path:
    path.write_text("".join(f"{line}\n" for line in to_lines(entries)), encoding="utf-8")
    return path


def test_the_path_is_printed_alone(tmp_path):
    done = prunec("store", "path", cwd=tmp_path)
    assert (done.code, done.stdout, done.stderr) == (0, f"{tmp_path / CACHE / 'latency.sqlite'}\n", "")


def test_latencies_of_another_machine_are_listed_with_it(tmp_path):
    filled(tmp_path, entry())
    distant = entry(device="Jetson Orin", median_ms=3.25, created_at=NOON, waiting_share=0.25)
    lines = exported(tmp_path / "jetson.jsonl", distant)
    assert prunec("store", "import", lines, cwd=tmp_path).code == 0
    done = prunec("store", "list", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    (own,) = (line for line in done.stdout.splitlines() if "a processor" in line)
    (other,) = (line for line in done.stdout.splitlines() if "Jetson Orin" in line)
    assert "1.5 ms" in own
    assert "unknown" in own
    for text in ("onnxruntime 1.31", "3.25 ms", "25 %", "2026-05-01 12:00 UTC"):
        assert text in other


def test_an_export_is_imported_whole_and_once(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    filled(here, entry(), entry(65))
    assert prunec("store", "export", "-o", "store.jsonl", cwd=here).code == 0
    first, second = (prunec("store", "import", here / "store.jsonl", cwd=there).stdout for _ in range(2))
    assert first == f"2 of 2 latencies added to {there / CACHE / 'latency.sqlite'}\n"
    assert second.startswith("0 of 2 latencies added")
    assert prunec("store", "export", cwd=there).stdout == (here / "store.jsonl").read_text()


def test_stores_are_merged(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    filled(here, entry())
    other = filled(there, entry(), entry(device="another"))
    assert prunec("store", "merge", other, cwd=here).stdout.startswith("1 of 2 latencies added")
    assert prunec("store", "merge", other, cwd=here).stdout.startswith("0 of 2 latencies added")


def test_of_several_files_all_or_none_are_imported(tmp_path):
    good = exported(tmp_path / "good.jsonl", entry())
    (tmp_path / "bad.jsonl").write_text("latencies")
    done = prunec("store", "import", good, "bad.jsonl", cwd=tmp_path)
    assert (done.code, done.complaint) == (
        2,
        "prunec: bad.jsonl is not an exported latency store; write it with `prunec store export`",
    )
    assert len(prunec("store", "export", cwd=tmp_path).stdout.splitlines()) == 1


def test_a_damaged_store_is_a_warning(tmp_path):
    filled(tmp_path, entry()).write_bytes(b"latencies" * 1000)
    done = prunec("store", "export", cwd=tmp_path)
    assert (done.code, len(done.stdout.splitlines())) == (0, 1)
    assert done.stderr.startswith("warning: the latency store ")
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_written_is_2(tmp_path):
    done = prunec("store", "export", "-o", "absent/store.jsonl", cwd=tmp_path)
    assert done.code == 2
    assert "absent/store.jsonl: cannot be written" in done.complaint
