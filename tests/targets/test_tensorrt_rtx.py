"""Real engines: TensorRT-RTX builds without a GPU."""

from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import pytest

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")

from toolchain.errors import EnvironmentMissing, ModelError, UsageError
from toolchain.graph.deployment import bind_model
from toolchain.targets.host import nvidia_device
from toolchain.targets.pinned_cache import ASIDE_SUFFIX, cache_path
from toolchain.targets.registry import create
from toolchain.targets.several_builds import Best
from toolchain.targets.tensorrt import Tensorrt
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


def test_its_builds_do_not_differ(model: onnx.ModelProto, tmp_path: Path) -> None:
    first, second = (TensorrtRtx(compute_capabilities="8.9").build(model, tmp_path / name) for name in "ab")
    assert first.path != second.path
    assert first.sha256 == second.sha256
    assert "builds" not in dict(TensorrtRtx().options)


@pytest.mark.skipif(bool(nvidia_device()), reason="there is a GPU here")
def test_an_engine_is_not_loaded_without_a_driver(model: onnx.ModelProto, tmp_path: Path) -> None:
    target = TensorrtRtx(compute_capabilities="8.9")
    engine = target.build(model, tmp_path)
    hint = r"CUDA driver version is insufficient .*; install NVIDIA's driver, or a newer one$"
    with pytest.raises(EnvironmentMissing, match=hint), target.runner(engine):
        pass


@dataclass(frozen=True)
class WithTimings(TensorrtRtx):
    """Builds as target tensorrt does, with a timing cache; this library writes one, though it is never of use to it."""

    builds: int = 1
    best: Best = Best.FASTEST
    compile = Tensorrt.compile


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[WithTimings, Path]:
    """A target and where its timings will be kept."""
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path / "cache"))
    target = WithTimings(compute_capabilities="8.9")
    return target, cache_path("timings", target.identity().key())


def test_timings_are_kept_and_given_to_the_next_build(
    timings: tuple[WithTimings, Path], model: onnx.ModelProto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, cache = timings
    first = target.build(model, tmp_path / "a")
    owner, content = target.identity().key().encode(), cache.read_bytes()
    assert content.startswith(owner)
    assert len(content) > 150
    assert target.build(model, tmp_path / "b").sha256 == first.sha256
    assert cache.read_bytes().startswith(owner)
    assert caplog.messages == []


def test_damaged_timings_are_one_warning_and_the_engine_is_built(
    timings: tuple[WithTimings, Path], model: onnx.ModelProto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, cache = timings
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"these are no timings")
    assert target.build(model, tmp_path).path.stat().st_size > 1000
    assert len(caplog.messages) == 1
    assert "is damaged or was made elsewhere; a new one is begun" in caplog.messages[0]
    assert cache.with_name(cache.name + ASIDE_SUFFIX).read_bytes() == b"these are no timings"
    assert cache.read_bytes().startswith(target.identity().key().encode())
