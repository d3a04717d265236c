"""A model that ends the process of its runtime does not end that of a command: it is tried apart before it is run."""

import platform

import pytest
from bad_models import BAD_MODELS
from test_bad_files import is_modest, write

AT_RUN, AT_LOAD = "a division that ends the process", "a constant division that ends the process"
COMMANDS = [
    (AT_RUN, "compile bad.onnx --budget 60% --target null --dry-run"),
    (AT_RUN, "bench net.onnx bad.onnx --target onnxruntime"),
    (AT_RUN, "profile bad.onnx --target onnxruntime"),
    (AT_LOAD, "inspect bad.onnx"),
    (AT_LOAD, "build bad.onnx -o engine.onnx --target onnxruntime"),
    (AT_LOAD, "profile bad.onnx --target null"),
]
LOOPS = [
    "bench bad.onnx bad.onnx --target onnxruntime",
    "profile bad.onnx --target onnxruntime",
]

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors divide without an exception")


@pytest.mark.parametrize(("kind", "command"), COMMANDS, ids=[command for _, command in COMMANDS])
def test_a_model_that_kills_the_runtime_is_refused(commands, folder, kind, command):
    write(kind, folder)
    (folder / "net.onnx").write_bytes(BAD_MODELS[AT_RUN]().SerializeToString())  # bench takes two of the same inputs
    outcome = commands.run(command.split(), folder)
    assert outcome.code == 3
    assert outcome.complaint.endswith("running it crashes ONNX Runtime (SIGFPE); check the model with its exporter")
    assert "Warning" not in outcome.stderr
    assert is_modest(outcome)


@pytest.mark.parametrize("command", LOOPS)
def test_a_model_that_does_not_end_is_refused(commands, folder, command):
    write("a Loop of 2^62 trips", folder)
    outcome = commands.run(command.split(), folder)
    assert outcome.code == 3
    assert "one run does not end within 2 seconds of processor time" in outcome.complaint
    assert is_modest(outcome)


def test_a_model_that_is_not_run_is_not_tried(commands, folder):
    """What kills the runtime only when it runs can be looked at, drawn, and said in PyTorch."""
    write(AT_RUN, folder)
    assert commands.run(["inspect", "bad.onnx"], folder).code == 0
    assert commands.run(["emit", "bad.onnx", "-o", "emitted"], folder).code == 0
