"""`--allow-inexact`: what only a statistic ties is pruned, its deviation measured, shown, and never called a pass."""

import json
import re
from pathlib import Path

import onnx
import pytest
from command import prunec
from oracle import graph

NORMALISED = """net (float[1,3,8,8] x) => (float[1,4] scores) <
    float[32,3,3,3] stem, float[32] scale, float[32] shift, float[32,32,3,3] body, float[32,4] head
> {
    a = Conv<pads=[1,1,1,1]>(x, stem)
    t = Transpose<perm=[0,2,3,1]>(a)
    n = LayerNormalization(t, scale, shift)
    b = Transpose<perm=[0,3,1,2]>(n)
    c = Conv<pads=[1,1,1,1]>(b, body)
    r = Relu(c)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    scores = MatMul(f, head)
}"""
TINY = "multiprocessors=1,tile_rows=16,tile_columns=8,tile_depth=8"
MODELLED = ("--budget", "50%", "--target", "null", "--target-options", TINY, "--strategy", "uniform")


@pytest.fixture
def normalised(folder: Path) -> Path:
    """The folder with a network whose first layer is normalised over its channels."""
    onnx.save(graph(NORMALISED), folder / "norm.onnx")
    return folder


def test_inspect_says_what_the_flag_would_free(normalised: Path) -> None:
    strict = json.loads(prunec("inspect", "norm.onnx", "--json", cwd=normalised).stdout)
    lenient = json.loads(prunec("inspect", "norm.onnx", "--json", "--allow-inexact", cwd=normalised).stdout)
    assert (strict["prunable_channels"], lenient["prunable_channels"]) == (32, 64)
    (reason,) = (item["reason"] for item in strict["groups"] if item["name"] == "a")
    assert reason == ("inexact: LayerNormalization '-> n': it takes statistics across these channels (--allow-inexact)")


def test_a_compile_shows_the_deviation_and_verify_repeats_it(normalised: Path) -> None:
    options = ("norm.onnx", *MODELLED, "--data", "data.npz", "-o", "out", "--allow-inexact")
    done = prunec("compile", *options, cwd=normalised)
    assert done.code == 0
    assert re.search(r"note: that what stays computes what it did: inexact, outputs deviate .* by \d\.\de", done.stdout)
    report = json.loads((normalised / "out" / "report.json").read_text())
    checks = {item["name"]: item["equivalence"] for item in report["passes"]}
    assert not checks["prune"]["passed"]
    assert checks["prune"]["relative_error"] > checks["prune"]["tolerance"]
    assert checks["prune"]["inexact"] == ["LayerNormalization '-> n': it takes statistics across these channels"]
    for name in ("report.md", "report.html"):
        assert "inexact, outputs deviate" in (normalised / "out" / name).read_text()
    verified = prunec("verify", "out", cwd=normalised)
    assert verified.code == 0
    assert re.search(r"equivalence +│ inexact +│ deviates from the masked original by \d\.\de", verified.stdout)
    assert verified.stdout.endswith("out: inexact\n")


def test_the_flag_is_in_the_pipeline_that_the_bundle_keeps(normalised: Path) -> None:
    prunec("compile", "norm.onnx", *MODELLED, "-o", "out", "--allow-inexact", cwd=normalised)
    again = ("norm.onnx", *MODELLED, "--config", "out/pipeline.toml", "-o", "again")
    assert prunec("compile", *again, cwd=normalised).code == 0
    one, two = ((normalised / name / "plan.json").read_text() for name in ("out", "again"))
    assert one == two


def test_without_the_flag_the_cut_is_exact(normalised: Path) -> None:
    budget = ("--budget", "80%", *MODELLED[2:])
    done = prunec("compile", "norm.onnx", *budget, "-o", "out", cwd=normalised)
    assert done.code == 0
    report = json.loads((normalised / "out" / "report.json").read_text())
    (check,) = (item["equivalence"] for item in report["passes"] if item["name"] == "prune")
    assert (check["passed"], check["inexact"]) == (True, [])
    assert [item["name"] for item in report["pruning"]["groups"]] == ["c"]


def test_the_flag_needs_a_pass_that_prunes(normalised: Path) -> None:
    done = prunec("compile", "norm.onnx", "--preset", "fold", "--allow-inexact", cwd=normalised)
    assert done.code == 2
    assert done.complaint == (
        "prunec: --allow-inexact is for pass prune, which this pipeline does not have; leave it out"
    )
