import json

import onnx
import pytest
from command import prunec
from oracle import sandwich


def test_groups_their_places_and_what_is_frozen_are_listed(folder):
    done = prunec("inspect", "net.onnx", cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    assert "produces: stem_weight[0], stem_bias[0]" in done.stdout
    assert "consumes: body_weight[1]" in done.stdout
    assert "graph output 'scores': its size is part of the interface" in done.stdout
    assert done.stdout.splitlines()[-2:] == [
        "7 nodes, 10.3k parameters, 645k MACs; 2 of 3 groups prunable",
        "64 of 68 Conv/Gemm output channels prunable",
    ]


def test_json_holds_the_same(folder):
    done = prunec("inspect", "net.onnx", "--json", cwd=folder)
    found = json.loads(done.stdout)
    groups = {item["name"]: item for item in found["groups"]}
    assert (found["channels"], found["prunable_channels"]) == (68, 64)
    assert found["parameters"] == 32 * 27 + 32 + 32 * 32 * 9 + 32 + 4 * 32 + 4
    assert found["macs"] == 64 * 32 * 27 + 64 * 32 * 32 * 9 + 4 * 32
    assert groups["stem"]["width"] == 32
    assert {"parameter": "body_weight", "axis": 1, "role": "consumes", "node": "body"} in groups["stem"]["sites"]
    assert not groups["scores"]["prunable"]


def test_a_weight_that_constant_nodes_make_is_a_weight(tmp_path):
    body = "s = Mul(w, scale) z = Conv(a, s)"
    onnx.save(sandwich(body, declared="float[8,8,1,1] w, float[8,1,1,1] scale"), tmp_path / "scaled.onnx")
    done = prunec("inspect", "scaled.onnx", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (found["channels"], found["prunable_channels"]) == (8 + 8 + 5, 8 + 8)


def test_dot_draws_groups_and_the_nodes_they_live_in(folder):
    done = prunec("inspect", "net.onnx", "--dot", cwd=folder)
    assert done.stdout.startswith("graph groups {")
    assert 'group0 [label="stem: 32", shape=ellipse, style=filled, fillcolor=palegreen];' in done.stdout
    assert 'group0 -- "body" [label=consumes];' in done.stdout


def test_json_and_dot_cannot_share_stdout(folder):
    done = prunec("inspect", "net.onnx", "--json", "--dot", cwd=folder)
    assert (done.code, done.stdout) == (2, "")
    assert done.complaint == "prunec: --json and --dot both want stdout for themselves; give one of them"


@pytest.mark.parametrize("dims", [[], [128]])
def test_a_gemm_whose_weight_is_no_matrix_is_refused(folder, dims):
    model = onnx.load(folder / "net.onnx")
    weight = next(item for item in model.graph.initializer if item.name == "head_weight")
    weight.ClearField("dims")
    weight.dims.extend(dims)
    weight.raw_data = bytes(4 * (dims[0] if dims else 1))
    onnx.save(model, folder / "bad.onnx")
    done = prunec("inspect", "bad.onnx", cwd=folder)
    assert done.code == 3
    assert "Gemm" in done.complaint


QUANTISED = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[N,3,8,8] x) => (float[N,4,8,8] y) <int8[4,3,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float scale = {0.1}> {
        weight = DequantizeLinear(w, scale)
        y = Conv(x, weight)
    }"""


def test_a_quantised_network_is_named_as_such(tmp_path):
    """It had "no weighted layers"."""
    onnx.save(onnx.parser.parse_model(QUANTISED), tmp_path / "net.onnx")
    done = prunec("inspect", "net.onnx", cwd=tmp_path)
    assert "no rule knows DequantizeLinear: what reaches them stays" in done.stdout
    done = prunec("compile", "net.onnx", "--macs", "50%", "--target", "null", cwd=tmp_path)
    assert (done.code, done.complaint) == (
        3,
        "prunec: nothing in this model can be pruned (no rule knows its DequantizeLinear); "
        "it is quantised: prune the floating-point model, then quantise the result",
    )
