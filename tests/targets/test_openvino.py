import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from toolchain.errors import EnvironmentMissing, ModelError, UsageError
from toolchain.measure.protocol import Protocol, measure
from toolchain.targets.engine import Engine
from toolchain.targets.onnxruntime import execute
from toolchain.targets.openvino import Openvino
from toolchain.targets.registry import create

ROOT = Path(__file__).parents[2]
HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
TARGET = Openvino(threads=1)

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


def network(text: str) -> onnx.ModelProto:
    return parser.parse_model(HEADER + "net " + text)


@pytest.fixture
def model() -> onnx.ModelProto:
    found = network(
        "(float[2,16,8,8] x) => (float[2,32,8,8] y)"
        "{ [first] c = Conv<pads=[1,1,1,1]>(x, w, b)  [second] r = Relu(c)  [third] y = Conv(r, v) }"
    )
    rng = np.random.default_rng(0)
    for name, shape in (("w", (32, 16, 3, 3)), ("b", (32,)), ("v", (32, 32, 1, 1))):
        found.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape, np.float32), name))
    return found


@pytest.fixture
def feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((2, 16, 8, 8), np.float32)}


def run(engine: Engine, feeds: dict[str, np.ndarray], target: Openvino = TARGET) -> dict[str, np.ndarray]:
    with target.runner(engine) as runner:
        return runner.infer(feeds)


@needs_openvino
def test_the_engine_computes_what_the_model_computes(model, feeds, tmp_path):
    found = run(TARGET.build(model, tmp_path), feeds)
    np.testing.assert_allclose(found["y"], execute(model, feeds, False)["y"], rtol=1e-4, atol=1e-4)


@needs_openvino
def test_the_exported_engine_equals_the_model_compiled_in_place_bit_by_bit(model, feeds, tmp_path):
    engine = TARGET.build(model, tmp_path)
    import openvino

    # Left to itself the runtime takes bfloat16 where the processor has it.
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    in_place = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    np.testing.assert_array_equal(run(engine, feeds)["y"], in_place(feeds)["y"])


@needs_openvino
def test_the_model_it_was_built_from_is_left_alone(model, tmp_path):
    before = model.SerializeToString()
    engine = TARGET.build(model, tmp_path)
    assert model.SerializeToString() == before
    assert [file.name for file in engine.files] == ["engine.blob"]
    assert TARGET.build(model, tmp_path) == engine


@needs_openvino
def test_outputs_of_one_tensor_keep_their_names(tmp_path):
    model = network(
        "(float[1,3] x) => (float[1,3] r, float[1,3] y, float[1,3] z) { r = Relu(x) y = Identity(r) z = Identity(x) }"
    )
    found = run(TARGET.build(model, tmp_path), {"x": np.array([[-1, 0, 2]], np.float32)})
    assert {name: value.tolist() for name, value in found.items()} == {
        "r": [[0, 0, 2]],
        "y": [[0, 0, 2]],
        "z": [[-1, 0, 2]],
    }


@needs_openvino
def test_integers_truth_values_and_scalars_are_fed(tmp_path):
    model = network(
        "(int64[2] i, float[3,2] x, bool c, float s) => (float[2,2] y, bool d)"
        "{ g = Gather(x, i) y = Mul(g, s) d = Not(c) }"
    )
    feeds = {
        "i": np.array([2, 0]),
        "x": np.arange(6, dtype=np.float32).reshape(3, 2)[:, ::-1],
        "c": np.array(True),
        "s": np.array(2, np.float32),
    }
    found = run(TARGET.build(model, tmp_path), feeds)
    assert (found["y"].tolist(), found["d"].tolist()) == ([[10, 8], [2, 0]], False)


@needs_openvino
def test_it_is_timed_by_the_protocol(model, feeds, tmp_path):
    quick = Protocol(warm_up_seconds=0, round_ms=1, min_rounds=2, max_seconds=0.1)
    engine = TARGET.build(model, tmp_path)
    latency = measure(TARGET, engine, feeds, protocol=quick, rng=np.random.default_rng(0))
    assert 0 < latency.median_ms < 1000
    assert (latency.clock, latency.batch, latency.precision) == ("host", 2, "float32")


@needs_openvino
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "(float[1,3,4,4] x) => (float[1,3,4,4] y) { [bad] y = Nope(x) }",
            "No conversion rule found for operations: Nope-17",
        ),
        (
            "(float[1,3,4,4] x) => (float[1,5,4,4] y) <float[5,4,1,1] w> { [wrong] c = Conv(x, w) y = Relu(c) }",
            r"Conv-17 with a message: While validating ONNX node '<Node\(Conv\): (wrong|c)>': "
            r"Data batch channel count \(3\) does not match filter input channel count \(4\)\.",
        ),
    ],
)
def test_a_refused_model_is_one_line_and_leaves_nothing_behind(text, message, tmp_path):
    model = network(text)
    for value in model.graph.value_info:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), value.name))
    with pytest.raises(ModelError, match=f"^OpenVINO cannot build the model: {message}$"):
        TARGET.build(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_an_input_of_another_shape_is_refused_in_one_line(model, tmp_path):
    engine = TARGET.build(model, tmp_path)
    with (
        TARGET.runner(engine) as runner,
        pytest.raises(ModelError, match=r"shape=\[2,16,8,8\].*incompatible") as caught,
    ):
        runner.infer({"x": np.zeros((3, 16, 8, 8), np.float32)}, check_inputs=False)
    assert "\n" not in str(caught.value)


@needs_openvino
@pytest.mark.parametrize("content", [b"", b"something else"])
def test_a_file_that_is_no_engine_for_this_machine_is_an_environment_error(content, model, tmp_path):
    engine = TARGET.build(model, tmp_path)
    engine.path.write_bytes(content)
    with pytest.raises(EnvironmentMissing, match=r"^OpenVINO cannot load the engine .*; build it with this version"):
        TARGET.runner(engine).activate()


@needs_openvino
def test_the_identity_tells_machine_library_precision_and_options():
    identity = TARGET.identity()
    assert identity.runtime.startswith("openvino 20")
    assert "cores" in identity.device
    assert identity.precision == "float32"
    assert dict(identity.options) == {"threads": "1", "device": "CPU", "precision": "float32", "pinning": "False"}
    assert identity.key() != replace(TARGET, pinning=True).identity().key()


@needs_openvino
def test_a_device_that_is_not_here_is_an_environment_error():
    if Openvino(device="NPU").availability().ok:
        pytest.skip("there is an NPU here")
    with pytest.raises(EnvironmentMissing, match=r"^target openvino: OpenVINO finds no NPU here; use device=CPU"):
        create("openvino", "device=NPU")


@needs_openvino
def test_a_precision_the_device_would_silently_replace_is_refused():
    if Openvino(precision="float16").availability().ok:
        pytest.skip("this processor computes in float16")
    with pytest.raises(EnvironmentMissing, match=r"this CPU does not compute in float16; choose float32"):
        create("openvino", "precision=float16")


def test_options_of_the_processor_are_refused_elsewhere():
    with pytest.raises(UsageError, match=r"threads and pinning are options of device=CPU; leave them out$"):
        create("openvino", "device=GPU,threads=2")


@needs_openvino
def test_nothing_is_printed_and_nobody_is_told(model, tmp_path):
    script = (
        "import onnx, pathlib, sys\n"
        "from toolchain.targets.openvino import Openvino\n"
        "target = Openvino()\n"
        "engine = target.build(onnx.load(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "target.runner(engine).__enter__().__exit__(None, None, None)\n"
        "assert not any(name.startswith('openvino_telemetry.') for name in sys.modules)\n"
    )
    onnx.save(model, tmp_path / "model.onnx")
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", script, str(tmp_path / "model.onnx"), str(tmp_path / "engines")]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(home.iterdir()) == []


def test_without_the_library_it_says_how_to_get_it(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'openvino' else found(name, *rest)\n"
    )
    script = "from toolchain.targets.openvino import Openvino; print(Openvino().availability())"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert "the package openvino is not installed" in done.stdout
    assert "pip install 'prunec[openvino]'" in done.stdout


def test_the_profile_names_the_nodes_of_each_kernel(model, feeds, tmp_path):
    layers = TARGET.profile(model, TARGET.build(model, tmp_path), feeds, 5)
    named = [name for layer in layers for name in layer.nodes]
    assert named == [node.output[0] for node in model.graph.node]
    assert all(len(layer.samples_ms) == 5 for layer in layers)
    assert sum(sum(layer.samples_ms) for layer in layers) > 0
