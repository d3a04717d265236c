"""Real TensorRT-RTX engines from the command line, pruned and as they are, on a machine without a GPU."""

import json
import sys
from pathlib import Path

import onnx
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from command import prunec
from detection import detector
from structures import export

from models.registry import networks
from toolchain.targets.host import nvidia_device

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")

ADA, BLACKWELL = "8.9", "12.0"
PASSES = "fold-constants,fold-batchnorm,prune(strategy=uniform,strategy_options=max_trials=3)"
KERNEL_BYTES = 2 * 1024**2
"""Room for the code of an engine, which does not get smaller with its weights."""
LARGE = [
    pytest.param("resnet50", 64, marks=pytest.mark.slow),
    pytest.param("mobilenet_v2", 64, marks=pytest.mark.slow),
    pytest.param("vgg16_bn", 224, marks=pytest.mark.slow),
    pytest.param("yolov3", 96, marks=pytest.mark.slow),
]


def reference_network(name: str, size: int) -> onnx.ModelProto:
    """Return a network with random weights; "detector" has Resize and Concat as version 5 of the YOLO family."""
    if name == "detector":
        return export(detector(5), 3, 32, 32)
    torch.manual_seed(0)
    return export(networks()[name].build(), 3, size, size)


def weight_bytes(path: Path) -> int:
    return sum(len(item.raw_data) for item in onnx.load(path).graph.initializer)


@pytest.mark.parametrize(
    ("name", "size"), [("resnet20", 32), pytest.param("detector", 32, marks=pytest.mark.slow), *LARGE]
)
def test_pruned_and_unpruned_engines_are_built_without_a_gpu(name, size, tmp_path):
    onnx.save(reference_network(name, size), tmp_path / "net.onnx")
    options = ("--target", "tensorrt-rtx", "--compute-capability", f"{ADA},{BLACKWELL}", "-o", "whole.engine", "--json")
    whole = prunec("build", "net.onnx", *options, cwd=tmp_path)
    assert whole.code == 0, whole.stderr
    also = f"tensorrt-rtx:compute_capabilities={ADA}+{BLACKWELL}"
    pruned = prunec("compile", "net.onnx", "--target", "null", "--macs", "50%", "--passes", PASSES,
                    "--also-build", also, "-o", "bundle", "-q", cwd=tmp_path, timeout_seconds=1800)  # fmt: skip
    assert pruned.code == 0, pruned.stderr
    (engine,) = (tmp_path / "bundle").rglob("*.engine")
    before, after = (weight_bytes(tmp_path / name) for name in ("net.onnx", "bundle/model.onnx"))
    assert after < 0.7 * before
    for engine_bytes, weights in ((json.loads(whole.stdout)["bytes"], before), (engine.stat().st_size, after)):
        assert 0.5 * weights < engine_bytes < 1.1 * weights + KERNEL_BYTES
    (built,) = json.loads((tmp_path / "bundle" / "report.json").read_text())["also_built"]
    assert built["name"] == "tensorrt-rtx"
    assert ["compute_capabilities", f"{ADA}+{BLACKWELL}"] in built["options"]


@pytest.fixture
def folder(tmp_path):
    onnx.save(export(detector(3), 3, 32, 32), tmp_path / "net.onnx")
    return tmp_path


def build(folder, *options):
    return prunec("build", "net.onnx", "--target", "tensorrt-rtx", "-o", "net.engine", *options, cwd=folder)


def test_an_unknown_gpu_is_an_environment_error(folder):
    result = build(folder, "--compute-capability", "9.0")
    assert result.code == 6
    assert "Compute capability 9.0 (SM90) not supported by this TensorRT-RTX version" in result.complaint
    assert not (folder / "net.engine").exists()


@pytest.mark.skipif(bool(nvidia_device()), reason="there is a GPU here")
def test_without_a_gpu_it_has_to_be_said_which_one(folder):
    result = build(folder)
    assert result.code == 2
    assert result.complaint.endswith("there is no GPU here to build for; say which: --compute-capability 8.9,12.0")


def test_an_op_it_does_not_know_is_a_model_error(folder):
    unknown = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17, "own": 1]>
        net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = own.Spiral(x) }""")
    onnx.save(unknown, folder / "net.onnx")
    result = build(folder, "--compute-capability", ADA)
    assert result.code == 3
    assert "Spiral" in result.complaint


def test_a_range_of_batches_makes_another_engine(folder):
    fixed = build(folder, "--compute-capability", ADA, "--json")
    options = "max_shapes=x:8x3x32x32,optimization_level=1,workspace_mebibytes=64"
    ranged = build(folder, "--compute-capability", ADA, "--json", "--target-options", options)
    assert fixed.code == ranged.code == 0, ranged.stderr
    one, other = (json.loads(result.stdout) for result in (fixed, ranged))
    assert one["sha256"] != other["sha256"]
    assert ["max_shapes", "x:8x3x32x32"] in other["target"]["options"]


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("max_shapes=x:8x3x32", "input 'x' has 4 axes, not 3; write x:1x3x224x224, and a + between several"),
        ("max_shapes=y:8x3x32x32", "the model has no input 'y'; inputs are x"),
        ("max_shapes=8x3", "'8x3' is not the shape of an input; write x:1x3x224x224, and a + between several"),
        (
            "min_shapes=x:2x3x32x32",
            "axis 0 of input 'x' is 1 when deployed, which is not between 2 and 1; --input-shapes",
        ),
        ("optimization_level=9", "target tensorrt-rtx: optimization_level=9"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(folder, option, complaint):
    result = build(folder, "--compute-capability", ADA, "--target-options", option)
    assert result.code == 2
    assert result.complaint.startswith(f"prunec: {complaint}")
