"""What the fuzz has found, one test a defect."""

import subprocess
import sys

import onnx
import pytest
from commands import ROOT
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


@pytest.mark.parametrize("command", [("inspect",), ("compile", "--budget", "60%", "--target", "null")], ids=" ".join)
def test_a_string_that_is_no_text_is_refused(commands, folder, command):
    """GraphSurgeon decodes every one, ONNX Runtime quotes it in its error: both failed."""
    model = graph(
        "net (float[1,3,8,8] x) => (float[1,4,16,16] y) <float[4,3,1,1] w, float[4] s = {1.0,1.0,2.0,2.0}> "
        '{ a = Conv(x, w) y = Resize<mode="nearest">(a, , s) }'
    )
    model.graph.node[1].attribute[0].s = b"\xff\xfe"
    onnx.save(model, folder / "net.onnx")
    outcome = commands.run([*command, "net.onnx"], folder)
    assert outcome.code == 3
    assert outcome.complaint == (
        "prunec: net.onnx: attribute 'mode' of Resize '-> y' is not UTF-8 text; check the model with its exporter"
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


def test_a_weight_that_is_also_read_as_a_bias_is_refused(commands, folder):
    """Its axes do not fit the second use: uniting the two failed."""
    model = graph("net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,3,1,1] w> { a = Relu(x) y = Conv(a, w, w) }")
    onnx.save(model, folder / "net.onnx")
    outcome = commands.run(["inspect", "net.onnx"], folder)
    assert outcome.code == 3
    assert "parameter 'w' has 4 axes where a node reads it as having 1" in outcome.complaint


def test_a_bound_above_the_one_that_holds_already_changes_nothing():
    """A model with large tensors was to have more memory than the shell allowed: the trial ended without an answer."""
    program = """
import resource
from toolchain.isolation import Allowance
for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CPU):
    resource.setrlimit(kind, (1 << 33, 1 << 33))
Allowance(1 << 34, 1 << 34).enter()
print(resource.getrlimit(resource.RLIMIT_DATA), resource.getrlimit(resource.RLIMIT_CPU))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{(1 << 33, 1 << 33)} {(1 << 33, 1 << 33)}\n", "")


def test_a_model_whose_result_is_not_finite_is_refused(commands, folder):
    """A weight of 1e38 is finite, what comes of it is not: the model seemed to differ from itself."""
    model = graph(
        "net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,3,1,1] w, float[1] huge = {1e38}> "
        "{ a = Conv(x, w) b = Mul(a, huge) y = Mul(b, huge) }"
    )
    onnx.save(model, folder / "net.onnx")
    outcome = commands.run(["compile", "net.onnx", "--budget", "60%", "--target", "null"], folder)
    assert outcome.code == 3
    assert outcome.complaint == (
        "prunec: output 'y' is NaN or infinite on the inputs that the model is checked with; "
        "a damaged or diverged parameter does that; check the model with its exporter"
    )
