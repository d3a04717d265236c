"""The engine inspector's JSON in the form that TensorRT 10 writes it, and what it says of a model's nodes."""

import json

import onnx
import pytest

from toolchain.targets.tensorrt_profile import layer_times, read_layers

MODEL = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
    net (float[1,3,8,8] x, float[4,3,3,3] w, float[4,4,1,1] v) => (float[1,4,6,6] y) {
        [conv1] c = Conv(x, w)
        [relu1] r = Relu(c)
        d = Conv(r, v)
        [add1] s = Add(d, r)
        [relu2] y = Relu(s)
    }""")
LAYERS = [
    {
        "Name": "Reformatting CopyNode for Input Tensor 0 to conv1 + relu1",
        "LayerType": "Reformat",
        "Inputs": [{"Name": "x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Float"}],
        "Outputs": [{"Name": "Reformatted Input Tensor 0 to conv1 + relu1", "Dimensions": [1, 3, 8, 8]}],
        "Metadata": "",
    },
    {
        "Name": "conv1 + relu1",
        "LayerType": "CaskConvolution",
        "Outputs": [{"Name": "r", "Dimensions": [1, 4, 6, 6]}],
        "TacticName": "sm80_xmma_fprop_implicit_gemm",
        "Metadata": "[ONNX Layer: conv1]\x1f[ONNX Layer: relu1]",
    },
    {
        "Name": "node_of_d + add1 + relu2",
        "LayerType": "CaskConvolution",
        "Outputs": [{"Name": "y", "Dimensions": [1, 4, 6, 6]}],
        "Metadata": "[ONNX Layer: node_of_d]\x1e[ONNX Layer: add1]\x1f[ONNX Layer: relu2]",
    },
]
SAMPLES_MS = {item["Name"]: [float(number), float(number) + 0.5] for number, item in enumerate(LAYERS)}


def information(layers) -> str:
    return json.dumps({"Layers": layers, "Bindings": ["x", "y"]})


def test_layers_name_the_nodes_they_came_from():
    _, first, second = read_layers(information(LAYERS))
    assert first.nodes == ("conv1", "relu1")
    assert second.nodes == ("d", "add1", "relu2")


def test_times_are_given_to_the_nodes_that_a_layer_computes():
    copied, first, second = layer_times(MODEL, read_layers(information(LAYERS)), SAMPLES_MS)
    assert (copied.nodes, copied.op_type, copied.samples_ms) == ((), "Reformat", (0.0, 0.5))
    assert (first.nodes, first.op_type, first.tensor, first.samples_ms) == (("c", "r"), "Conv", "r", (1.0, 1.5))
    assert (second.nodes, second.op_type, second.tensor) == (("d", "s", "y"), "Conv", "y")


def test_a_layer_that_was_not_profiled_has_no_time():
    found = layer_times(MODEL, read_layers(information(LAYERS)), {"conv1 + relu1": [1.0]})
    assert [layer.name for layer in found] == ["conv1 + relu1"]


@pytest.mark.parametrize("separator", ["\x1e", "\x1f", ""])
def test_names_with_brackets_are_read_whole_whatever_separates_them(separator):
    metadata = separator.join(["[ONNX Layer: blocks[0]/conv]", "[ONNX Layer: relu]"])
    (layer,) = read_layers(information([{"Name": "fused", "Metadata": metadata}]))
    assert layer.nodes == ("blocks[0]/conv", "relu")


def test_an_engine_without_detailed_information_lists_names_alone():
    layers = read_layers(information(["conv1 + relu1", "node_of_d + add1 + relu2"]))
    assert [layer.nodes for layer in layers] == [(), ()]
    assert [layer.nodes for layer in layer_times(MODEL, layers, SAMPLES_MS)] == [(), ()]
