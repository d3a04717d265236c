import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from toolchain.errors import ModelError, UsageError
from toolchain.targets.engine import find
from toolchain.targets.onnxruntime import Onnxruntime, ReferenceSession, execute

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
TARGET = Onnxruntime(threads=1)


@pytest.fixture
def model() -> onnx.ModelProto:
    found = parser.parse_model(
        HEADER + "net (float[N,16,8,8] x) => (float[N,32,8,8] y)"
        "{ [first] c = Conv<pads=[1,1,1,1]>(x, w, b)  [second] r = Relu(c)  [third] y = Conv(r, v) }"
    )
    rng = np.random.default_rng(0)
    for name, shape in (("w", (32, 16, 3, 3)), ("b", (32,)), ("v", (32, 32, 1, 1))):
        found.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape, np.float32), name))
    return found


@pytest.fixture
def feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((2, 16, 8, 8), np.float32)}


def test_the_engine_computes_what_the_model_computes(model, feeds, tmp_path):
    engine = TARGET.build(model, tmp_path)
    with TARGET.runner(engine) as runner:
        found = runner.infer(feeds)["y"]
        assert runner.last_inference_time() > 0
    np.testing.assert_allclose(found, execute(model, feeds, False)["y"], rtol=1e-4, atol=1e-4)


def test_the_engine_equals_the_session_optimised_in_place_bit_by_bit(model, feeds, tmp_path):
    with TARGET.runner(TARGET.build(model, tmp_path)) as runner:
        np.testing.assert_array_equal(runner.infer(feeds)["y"], execute(model, feeds, True)["y"])


def test_the_saved_engine_is_the_optimised_graph(model, tmp_path):
    engine = TARGET.build(model, tmp_path)
    assert len(onnx.load(engine.path).graph.node) != len(model.graph.node) or any(
        node.domain for node in onnx.load(engine.path).graph.node
    )
    assert engine.files == (engine.path,)


def test_the_same_content_is_built_once(model, tmp_path):
    engine = TARGET.build(model, tmp_path)
    written = engine.path.stat().st_mtime_ns
    assert TARGET.build(model, tmp_path) == engine
    assert engine.path.stat().st_mtime_ns == written


def test_other_weights_or_other_options_give_another_engine(model, tmp_path):
    engine = TARGET.build(model, tmp_path)
    assert replace(TARGET, threads=2).build(model, tmp_path).path != engine.path
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((32, 16, 3, 3), np.float32), "w"))
    assert TARGET.build(model, tmp_path).path != engine.path


@pytest.mark.parametrize("damage", [b"", b"damaged"])
def test_a_damaged_engine_is_built_anew(model, tmp_path, damage):
    engine = TARGET.build(model, tmp_path)
    engine.path.write_bytes(damage)
    assert find(engine.path, engine.identity, engine.model_sha256) is None
    again = TARGET.build(model, tmp_path)
    assert again.path == engine.path
    assert find(again.path, again.identity, again.model_sha256) == again


def test_a_damaged_descriptor_is_built_anew(model, tmp_path):
    engine = TARGET.build(model, tmp_path)
    (engine.path.parent / "descriptor.json").write_text("{")
    assert TARGET.build(model, tmp_path).path == engine.path
    assert find(engine.path, engine.identity, engine.model_sha256)


def test_an_engine_of_another_version_is_built_anew(model, tmp_path):
    engine = TARGET.build(model, tmp_path)
    descriptor = engine.path.parent / "descriptor.json"
    older = descriptor.read_text().replace(engine.identity.runtime, "onnxruntime 1.0.0")
    descriptor.write_text(older)
    assert TARGET.build(model, tmp_path) == engine
    assert descriptor.read_text() != older


def test_a_refused_build_leaves_nothing_behind(tmp_path):
    with pytest.raises(ModelError):
        TARGET.build(_unknown_op(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_usage_error(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"engines cannot be written to .*file/engines: .*; choose a folder"):
        TARGET.build(model, tmp_path / "file" / "engines")


def test_an_unknown_op_is_named_with_its_node(tmp_path):
    with pytest.raises(ModelError, match=r"^ONNX Runtime cannot load the model: .*\"bad\", Nope") as caught:
        TARGET.build(_unknown_op(), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_type_without_a_kernel_is_named_with_its_node():
    text = HEADER + "net (double[1,3,4,4] x) => (double[1,3,4,4] y) { [norm] y = LRN<size=3>(x) }"
    with pytest.raises(ModelError, match=r"cannot load the model: Could not find .* LRN.* name 'norm'"):
        ReferenceSession(parser.parse_model(text))


def test_a_weight_that_does_not_fit_fails_in_one_line_when_run():
    model = parser.parse_model(HEADER + "net (float[1,3,4,4] x) => (float[1,5,4,4] y) { [wrong] y = Conv(x, w) }")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((5, 4, 1, 1), np.float32), "w"))
    with pytest.raises(ModelError, match=r"cannot run the model: .*'wrong'.*kernel channels") as caught:
        execute(model, {"x": np.zeros((1, 3, 4, 4), np.float32)}, False)
    assert "\n" not in str(caught.value)


def test_nothing_is_printed_by_the_runtime(tmp_path):
    script = (
        "import onnx, pathlib, sys\n"
        "from toolchain.errors import ModelError\n"
        "from toolchain.targets.onnxruntime import Onnxruntime\n"
        "target = Onnxruntime()\n"
        "engine = target.build(onnx.load(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "target.runner(engine).__enter__().__exit__(None, None, None)\n"
    )
    model = parser.parse_model(HEADER + "net (float[1,16,4,4] x) => (float[1,16,4,4] y) { y = Conv(x, w) }")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((16, 16, 1, 1), np.float32), "w"))
    onnx.save(model, tmp_path / "model.onnx")
    command = [sys.executable, "-c", script, str(tmp_path / "model.onnx"), str(tmp_path / "engines")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_reference_session_returns_inner_tensors(model, feeds):
    inner = ReferenceSession(model, ["r", "y"]).run(feeds)
    assert list(inner) == ["r", "y"]
    assert inner["r"].shape == (2, 32, 8, 8)
    assert inner["r"].min() == 0
    np.testing.assert_array_equal(inner["y"], execute(model, feeds, False)["y"])
    assert [output.name for output in model.graph.output] == ["y"]


def test_a_tensor_that_is_not_in_the_model_is_refused(model):
    with pytest.raises(ModelError, match=r"^the model has no tensor 'nope'$"):
        ReferenceSession(model, ["nope"])


def test_the_identity_tells_machine_library_and_options():
    identity = TARGET.identity()
    assert identity.runtime.startswith("onnxruntime 1.")
    assert "cores" in identity.device
    assert dict(identity.options) == {"threads": "1", "spinning": "False", "provider": "cpu"}
    assert len(identity.key()) == 64
    assert identity.key() == TARGET.identity().key() != replace(TARGET, threads=2).identity().key()


@pytest.mark.slow
def test_a_model_above_two_gibibytes_has_its_weights_beside_it(tmp_path: Path):
    side = 2**14  # a square float32 matrix of this side is 1 GiB
    model = parser.parse_model(
        HEADER
        + f"net (float[1,{side}] x) => (float[1,{side}] y)"
        + "{ a = MatMul(x, u) b = MatMul(a, v) y = MatMul(b, w) }"
    )
    for name in "uvw":
        weight = np.zeros((side, side), np.float32)
        np.fill_diagonal(weight, 2.0)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    engine = TARGET.build(model, tmp_path)
    assert [file.name for file in engine.files] == ["engine.onnx", "weights"]
    assert len(model.graph.initializer[0].raw_data) == 4 * side * side
    with TARGET.runner(engine) as runner:
        found = runner.infer({"x": np.ones((1, side), np.float32)})["y"]
    np.testing.assert_array_equal(found, np.full((1, side), 8, np.float32))


def _unknown_op() -> onnx.ModelProto:
    return parser.parse_model(HEADER + "net (float[1,3] x) => (float[1,3] y) { [bad] y = Nope(x) }")


def test_the_profile_names_the_nodes_of_each_kernel(model, feeds, tmp_path):
    layers = TARGET.profile(model, TARGET.build(model, tmp_path), feeds, 5)
    computing = [layer for layer in layers if layer.nodes]
    assert [layer.nodes for layer in computing] == [("c", "r"), ("y",)]
    assert [layer.tensor for layer in computing] == ["r", "y"]
    assert all(len(layer.samples_ms) == 5 and min(layer.samples_ms) >= 0 for layer in layers)


def test_layout_changes_are_kernels_without_nodes_that_name_the_tensor_they_move(model, feeds, tmp_path):
    layers = TARGET.profile(model, TARGET.build(model, tmp_path), feeds, 1)
    assert {(layer.op_type, layer.tensor) for layer in layers if not layer.nodes} == {
        ("ReorderInput", "x"),
        ("ReorderOutput", "y"),
    }


def test_a_node_that_carries_a_graph_is_one_kernel_with_the_time_of_what_runs_inside(tmp_path):
    model = parser.parse_model(
        HEADER
        + """net (float[1,4,8,8] x) => (float[1,4,8,8] y) <float zero = {0}> {
            m = ReduceMean<keepdims=0>(x)
            flag = Greater(m, zero)
            d = If(flag) <
                then_branch = one () => (float[1,4,8,8] t) { a = Exp(x) b = Sin(a) t = Neg(b) },
                else_branch = other () => (float[1,4,8,8] e) { e = Neg(x) }
            >
            y = Sigmoid(d)
        }"""
    )
    feeds = {"x": np.ones((1, 4, 8, 8), np.float32)}
    layers = TARGET.profile(model, TARGET.build(model, tmp_path), feeds, 5)
    assert [layer.op_type for layer in layers] == ["ReduceMean", "Greater", "If", "Sigmoid"]
    assert {len(layer.samples_ms) for layer in layers} == {5}


def test_a_profile_leaves_no_file(model, feeds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TARGET.profile(model, TARGET.build(model, tmp_path / "engines"), feeds, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["engines"]


def test_kernels_that_do_nothing_take_next_to_nothing(tmp_path):
    model = parser.parse_model(HEADER + "net (float[1,4] x) => (float[4] y) { a = Flatten(x) y = Squeeze(a) }")
    layers = TARGET.profile(model, TARGET.build(model, tmp_path), {"x": np.ones((1, 4), np.float32)}, 50)
    assert all(np.percentile(layer.samples_ms, 25) < 0.05 for layer in layers)
