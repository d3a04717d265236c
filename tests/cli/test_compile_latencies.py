"""`prunec compile --latency-from`: what was timed elsewhere chooses the widths here."""

import json

import pytest
from command import prunec

TINY = "multiprocessors=1,tile_rows=16,tile_columns=8,tile_depth=8"
MODELLED = ("--target", "null", "--target-options", TINY, "--budget", "60%", "--strategy", "halp")


def compiled(folder, *options, out="out", cache=".cache"):
    given = ("compile", "net.onnx", *MODELLED, *options, "-o", out)
    return prunec(*given, cwd=folder, environ={"PRUNEC_CACHE": str(folder / cache)})


def report_of(folder, name="out"):
    return json.loads((folder / name / "report.json").read_text())


@pytest.fixture
def exported(folder):
    """The latencies of a compile, as this machine's and as another's."""
    assert compiled(folder).code == 0
    assert prunec("store", "export", "-o", "here.jsonl", cwd=folder).code == 0
    header, *lines = (folder / "here.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    for entry in entries:
        entry.get("latency", entry)["identity"]["device"] = "another device"
    assert sum("network" in entry for entry in entries) == 1
    (folder / "there.jsonl").write_text("\n".join([header, *map(json.dumps, entries)]) + "\n")
    return folder


def test_another_machines_latencies_choose_the_same_plan_and_are_named(exported):
    done = compiled(exported, "--latency-from", "there.jsonl", out="carried", cache="empty")
    assert done.code == 0, done.stderr
    origin = report_of(exported, "carried")["latencies"]
    assert (origin["path"], origin["device"], origin["target"]) == ("there.jsonl", "another device", "null")
    assert origin["entries"] > 0
    assert origin["oldest"] <= origin["newest"]
    assert (origin["profiled"], origin["own"]) == (True, 0)
    for name in ("model.onnx", "plan.json"):
        assert (exported / "carried" / name).read_bytes() == (exported / "out" / name).read_bytes()
    for name in ("report.md", "report.html"):
        text = (exported / "carried" / name).read_text()
        assert "measured on another device" in text
        assert "what the engine takes on another device, " in text
        assert " (UTC); only whole engines were timed here" in text
    assert prunec("verify", "carried", "--original", "net.onnx", cwd=exported).code == 0


def test_without_the_networks_profile_its_shares_are_this_machines_which_is_said(exported):
    header, *lines = (exported / "there.jsonl").read_text().splitlines()
    layers = [line for line in lines if '"network"' not in line]
    (exported / "layers.jsonl").write_text("\n".join([header, *layers]) + "\n")
    done = compiled(exported, "--latency-from", "layers.jsonl", out="carried", cache="empty")
    assert done.code == 0, done.stderr
    assert "warning: layers.jsonl holds no profile of this network: its layers' shares" in done.stderr
    origin = report_of(exported, "carried")["latencies"]
    assert (origin["profiled"], origin["own"]) == (False, 1)
    assert "(UTC); 1 others and whole engines were timed here" in (exported / "carried" / "report.md").read_text()


def test_a_missing_latency_of_another_machine_is_6(exported):
    header, *lines = (exported / "there.jsonl").read_text().splitlines()
    (exported / "few.jsonl").write_text("\n".join([header, lines[0]]) + "\n")
    done = compiled(exported, "--latency-from", "few.jsonl", out="carried", cache="empty")
    assert done.code == 6
    assert " latencies are missing, such as that of " in done.complaint
    assert "they were measured on another device, " in done.complaint


def test_a_missing_latency_of_this_machine_is_timed(exported):
    header, *lines = (exported / "here.jsonl").read_text().splitlines()
    (exported / "few.jsonl").write_text("\n".join([header, lines[0]]) + "\n")
    done = compiled(exported, "--latency-from", "few.jsonl", out="carried", cache="empty")
    assert done.code == 0, done.stderr
    report = report_of(exported, "carried")
    assert report["latencies"]["entries"] <= 1
    assert report["latencies"]["own"] > 0
    assert not any("what the engine takes" in note for note in report["unknown"])


def test_a_file_that_is_no_export_is_refused_before_anything_is_timed(folder):
    done = compiled(folder, "--latency-from", "data.npz")
    assert done.code == 2
    assert "data.npz" in done.complaint
    assert "building and timing" not in done.stderr


def test_latencies_that_no_strategy_asks_for_are_said_to_be_unused(exported):
    done = compiled(exported, "--latency-from", "here.jsonl", "--strategy", "uniform", out="carried")
    assert done.code == 0
    assert "warning: no latency of here.jsonl was asked for by this pipeline" in done.stderr
    assert report_of(exported, "carried")["latencies"] is None


def test_the_report_draws_the_layers_that_were_timed(exported):
    stairs = report_of(exported)["stairs"]
    assert stairs
    for stair in stairs:
        assert sorted(stair["widths"]) == stair["widths"]
        assert len(stair["widths"]) == len(stair["median_ms"]) >= 3
        assert set(stair["steps"]) < set(stair["widths"])
    assert 'id="stairs"' in (exported / "out" / "report.html").read_text()
