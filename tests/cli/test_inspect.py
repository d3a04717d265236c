import json

from command import prunec


def test_groups_their_places_and_what_is_frozen_are_listed(folder):
    done = prunec("inspect", "net.onnx", cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    assert "produces: stem_weight[0], stem_bias[0]" in done.stdout
    assert "consumes: body_weight[1]" in done.stdout
    assert "graph output 'scores': its size is part of the interface" in done.stdout
    assert (
        done.stdout.splitlines()[-1]
        == "7 nodes, 10.3k parameters, 645k MACs; 2 of 3 groups, 64 of 68 channels prunable"
    )


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
