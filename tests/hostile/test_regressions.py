"""What the fuzz has found, one test a defect."""

import onnx
from onnx import helper
from oracle import graph
from small import network


def test_a_layer_behind_an_op_that_nobody_knows_costs_nothing(commands, folder):
    """Its input's shape is not known, its output's is declared: the rule's count of MACs failed."""
    model = network()
    model.graph.node[1].domain = "custom"
    model.opset_import.append(helper.make_opsetid("custom", 1))
    onnx.save(model, folder / "net.onnx")
    outcome = commands.run(["inspect", "net.onnx"], folder)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert "custom::Relu" in outcome.stdout


def test_a_string_that_is_no_text_is_refused_when_it_is_tried(commands, folder):
    """ONNX Runtime quotes it in its error, and the quotation failed."""
    model = graph(
        "net (float[1,3,8,8] x) => (float[1,4,16,16] y) <float[4,3,1,1] w, float[4] s = {1.0,1.0,2.0,2.0}> "
        '{ a = Conv(x, w) y = Resize<mode="nearest">(a, , s) }'
    )
    model.graph.node[1].attribute[0].s = b"\xff\xfe"
    onnx.save(model, folder / "net.onnx")
    outcome = commands.run(["compile", "net.onnx", "--budget", "60%", "--target", "null"], folder)
    assert outcome.code == 3
    assert outcome.complaint == (
        "prunec: net.onnx: ONNX Runtime cannot load the model: a string in it is not UTF-8; "
        "check the model with its exporter"
    )


def test_a_bias_of_two_layers_of_different_width_is_refused(commands, folder):
    """Shape inference does not look at a bias; uniting its two uses failed."""
    model = graph(
        "net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[6,3,1,1] w, float[4,6,1,1] v, float[6] b> "
        "{ a = Conv(x, w, b) y = Conv(a, v, b) }"
    )
    onnx.save(model, folder / "net.onnx")
    outcome = commands.run(["inspect", "net.onnx"], folder)
    assert outcome.code == 3
    assert "channels do not fit together" in outcome.complaint
