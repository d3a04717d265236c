import json
import xml.etree.ElementTree as ET

import numpy as np
import onnx
from command import prunec
from oracle import graph

NULL = ("--target", "null", "--target-options", "multiprocessors=1,tile_rows=16,tile_columns=8,tile_depth=72")


def profiled(folder, *options):
    """Return what `profile --json` prints for net.onnx on a small modelled device."""
    result = prunec("profile", "net.onnx", *NULL, "--json", *options, cwd=folder)
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def test_it_says_where_the_time_goes_and_where_it_drops(folder):
    result = prunec("profile", "net.onnx", *NULL, cwd=folder)
    assert result.code == 0, result.stderr
    assert "modelled, not measured" in result.stdout
    assert "Conv + Relu" in result.stdout
    assert "24, 16, 8" in result.stdout
    assert "widths looked at, full sweeps are 128" in result.stdout


def test_shares_add_up_to_the_engine_without_what_the_runtime_takes(folder):
    figure = profiled(folder)
    shares = [kernel["share"] for kernel in figure["kernels"]]
    assert shares == sorted(shares, reverse=True)
    total = sum(kernel["latency_ms"] for kernel in figure["kernels"])
    np.testing.assert_allclose(sum(shares), total / figure["whole_ms"], rtol=1e-9)
    assert 0.5 < sum(shares) < 1


def test_the_search_agrees_with_a_sweep(folder):
    found, swept = profiled(folder), profiled(folder, "--exhaustive")
    assert [curve["steps"] for curve in found["curves"]] == [curve["steps"] for curve in swept["curves"]]
    assert all(curve["timings"] == curve["sweep_timings"] == 32 for curve in swept["curves"])
    assert sum(curve["timings"] for curve in found["curves"]) < 0.7 * 128


def test_a_second_profile_times_nothing_and_finds_the_same(folder):
    first, second = profiled(folder), profiled(folder)
    assert first["timed"] > 0
    assert second["timed"] == 0
    assert first["curves"] == second["curves"]


def test_one_layer_or_one_group_is_looked_at_on_request(folder):
    (layer,) = [{(curve["layers"][0], curve["axis"]) for curve in profiled(folder, "--layer", "body")["curves"]}]
    assert layer == {("body", "output"), ("body", "input")}
    (curve,) = profiled(folder, "--group", "stem")["curves"]
    assert (curve["layers"], curve["axis"], curve["full_width"]) == (["stem", "body"], "group", 32)


def test_what_is_not_there_is_said_with_what_is(folder):
    for options, complaint in (
        (("--layer", "bodi"), "prunec: there is no weighted layer 'bodi'; there is body"),
        (("--group", "stm"), "prunec: there is no group 'stm'; there is stem"),
        (
            ("--group", "stem", "--layer", "body"),
            "prunec: --layer and --group both say whose stairs are wanted; give one",
        ),
        (
            ("-o", "plot.png"),
            "prunec: --output plot.png is neither a .html nor a .svg file; choose one of these endings",
        ),
    ):
        result = prunec("profile", "net.onnx", *NULL, *options, cwd=folder)
        assert result.code == 2
        assert result.complaint.startswith(complaint)


def test_a_group_that_cannot_be_pruned_has_no_stairs_and_the_reason_is_given(folder):
    result = prunec("profile", "net.onnx", *NULL, "--group", "scores", cwd=folder)
    assert result.code == 2
    assert result.complaint.startswith("prunec: group 'scores' has no width to choose: ")


def test_a_network_without_a_choice_is_profiled_all_the_same(folder):
    onnx.save(
        graph("net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,3,1,1] w> { y = Conv(x, w) }"), folder / "one"
    )
    result = prunec("profile", "one", *NULL, cwd=folder)
    assert result.code == 0, result.stderr
    assert "no layer has a width to choose" in result.stdout


def test_the_plots_are_one_file_that_loads_nothing(folder):
    for name in ("page.html", "curves.svg"):
        assert prunec("profile", "net.onnx", *NULL, "-o", name, cwd=folder).code == 0
        text = (folder / name).read_text()
        assert text.count("<polyline") == 4
        assert 'class="step"' in text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    ET.parse(folder / "curves.svg")


def test_onnx_runtime_is_profiled_for_real(folder):
    result = prunec("profile", "net.onnx", "--target", "onnxruntime", "--layer", "body", "--json", cwd=folder)
    assert result.code == 0, result.stderr
    figure = json.loads(result.stdout)
    assert figure["in_network"]
    assert figure["target"]["measured"]
    body = next(kernel for kernel in figure["kernels"] if kernel["name"] == "body")
    assert body["op_types"] == ["Conv", "Relu"]
    assert all(latency_ms > 0 for curve in figure["curves"] for latency_ms in curve["latency_ms"])
