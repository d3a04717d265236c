"""Real engines: TensorRT-RTX builds without a GPU."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")

from toolchain.errors import EnvironmentMissing, ModelError, UsageError
from toolchain.graph.deployment import bind_model
from toolchain.targets.host import nvidia_device
from toolchain.targets.registry import create
from toolchain.targets.tensorrt_rtx import TensorrtRtx

CONVOLUTIONS = """
    <ir_version: 8, opset_import: ["" : 17]>
    t (float[N, 3, 16, 16] x) => (float[N, 8, 8, 8] y)
    <float[8, 3, 3, 3] w>
    {
        c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
        y = Relu (c)
    }
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    parsed = onnx.parser.parse_model(CONVOLUTIONS)
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [8, 3, 3, 3], [0.1] * 216)
    del parsed.graph.value_info[:]
    parsed.graph.initializer.append(weight)
    return bind_model(parsed, {"N": 1})


def test_an_engine_is_built_for_stated_gpus_without_having_one(model: onnx.ModelProto, tmp_path: Path) -> None:
    engine = TensorrtRtx(compute_capabilities="8.6+8.9+12.0").build(model, tmp_path)
    assert engine.path.suffix == ".engine"
    assert engine.path.stat().st_size > 1000
    assert engine.identity.runtime.startswith("tensorrt-rtx 1.")


def test_an_engine_for_more_gpus_is_larger(model: onnx.ModelProto, tmp_path: Path) -> None:
    one, two = (
        TensorrtRtx(compute_capabilities=text).build(model, tmp_path).path.stat().st_size
        for text in ("8.9", "8.9+12.0")
    )
    assert two > one


def test_a_built_engine_is_not_built_again(model: onnx.ModelProto, tmp_path: Path) -> None:
    target = TensorrtRtx(compute_capabilities="8.9")
    first = target.build(model, tmp_path)
    written = first.path.stat().st_mtime_ns
    assert target.build(model, tmp_path) == first
    assert first.path.stat().st_mtime_ns == written


def test_an_unsupported_gpu_is_refused_in_one_line(model: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissing) as caught:
        TensorrtRtx(compute_capabilities="9.0").build(model, tmp_path)
    assert str(caught.value) == (
        "target tensorrt-rtx: Compute capability 9.0 (SM90) not supported by this TensorRT-RTX version; "
        "see its documentation for supported GPUs"
    )


def test_an_op_it_cannot_build_is_named(model: onnx.ModelProto, tmp_path: Path) -> None:
    unsupported = onnx.ModelProto()
    unsupported.CopyFrom(model)
    unsupported.graph.node[1].op_type = "NoSuchOp"
    with pytest.raises(ModelError, match=r"^target tensorrt-rtx cannot build the model: .*NoSuchOp"):
        TensorrtRtx(compute_capabilities="8.9").build(unsupported, tmp_path)


@pytest.mark.parametrize("text", ["abc", "8", "8.9,12.0"])
def test_what_is_no_compute_capability_is_refused(model: onnx.ModelProto, tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a compute capability; write 8\.9, or 8\.9,12\.0 for several"):
        TensorrtRtx(compute_capabilities=text).build(model, tmp_path)


@pytest.mark.skipif(bool(nvidia_device()), reason="there is a GPU here")
def test_without_a_gpu_it_builds_but_does_not_time(model: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissing, match="there is no NVIDIA GPU to time on"):
        create("tensorrt-rtx")
    assert isinstance(create("tensorrt-rtx", for_building=True), TensorrtRtx)
    with pytest.raises(UsageError, match="there is no GPU here to build for; say which"):
        replace(TensorrtRtx(), compute_capabilities="").build(model, tmp_path)


def test_it_does_not_tell_what_single_layers_take(model: onnx.ModelProto, tmp_path: Path) -> None:
    target = TensorrtRtx(compute_capabilities="8.9")
    assert not target.profiles
    with pytest.raises(EnvironmentMissing, match=r"^target tensorrt-rtx does not tell what single layers take$"):
        target.profile(model, target.build(model, tmp_path), {}, 1)
