import lzma
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from emitted import assert_emitted_equals, assert_equal, assert_well_formatted, emitted, imported
from oracle import graph, prune, random_feeds

from models.export import Exporter, export
from models.registry import networks
from toolchain.emit.torch_module.constants import torch_dtype
from toolchain.errors import ModelError
from toolchain.graph.facts import bind_symbols
from toolchain.graph.index import GraphIndex

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "models" / "digits_resnet.onnx"
DATA = ROOT.parent / "shared" / "data"
TRAINED = sorted((*DATA.glob("*_models/*.onnx"), *DATA.glob("*_models/*.onnx.xz")))


def exported(name: str, folder: Path, exporter: Exporter = Exporter.TORCHSCRIPT) -> onnx.ModelProto:
    torch.manual_seed(0)
    network = networks()[name]
    export(network.build(), torch.randn(2, *network.input_shape), folder / "net.onnx", exporter=exporter)
    return onnx.load(folder / "net.onnx")


def classes(source: str) -> list[str]:
    return re.findall(r"^class (\w+)", source, re.MULTILINE)


def test_blocks_become_classes_named_after_the_graph():
    source = assert_emitted_equals(onnx.load(DIGITS))
    assert classes(source) == ["LayerBlock", "LayerBlock2", "Model"]
    assert "self.layer2 = nn.Sequential(LayerBlock2(64, 96), LayerBlock(96))" in source
    assert "x = F.relu(self.bn1(self.conv1(x)))  # [N, 64, 32, 32]" in source
    assert_well_formatted(source)


def test_weights_have_the_graphs_names():
    weights = emitted(onnx.load(DIGITS)).weights
    names = {item.name for item in onnx.load(DIGITS).graph.initializer}
    assert names <= set(weights)
    assert all(name in names or name.endswith(("num_batches_tracked", "bias")) for name in weights)


def test_gradients_reach_every_parameter(tmp_path):
    network = imported(emitted(onnx.load(DIGITS)), tmp_path).load().train()
    images = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(network(images), torch.arange(8)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0 or name.startswith("conv"), name


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_a_pruned_network_is_written_too(ratio):
    original = onnx.load(DIGITS)
    rng = np.random.default_rng(0)
    groups = prune(original).analysis.prunable_groups
    removed = {g.name: rng.permutation(g.width)[: int(g.width * ratio * rng.random()) + 1].tolist() for g in groups}
    source = assert_emitted_equals(prune(original, removed).model)
    assert_well_formatted(source)
    assert source.count("\n") < 200


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in TRAINED])
def test_a_trained_network_is_equal(path, tmp_path):
    content = path.read_bytes()
    model = onnx.load_from_string(lzma.decompress(content) if path.suffix == ".xz" else content)
    written = emitted(model)
    assert_well_formatted(written.source)
    network = imported(written, tmp_path).load()
    for variant in (0, 1):
        feeds = random_feeds(model, variant, bind_symbols(model, variant=variant))
        scale = 64.0 if "yolox" in path.name else 1.0  # it takes pixels
        assert_equal(model, network, {name: scale * value for name, value in feeds.items()})


NETWORKS = ["mobilenet_v2", "resnet18", "resnet20"]


@pytest.mark.parametrize("name", [name for name in networks() if name in NETWORKS])
def test_an_exported_network_is_equal(name, tmp_path):
    model = exported(name, tmp_path)
    written = emitted(model)
    assert_well_formatted(written.source)
    network = imported(written, tmp_path).load()
    shape = networks()[name].input_shape
    for batch in (1, 3):
        images = np.random.default_rng(batch).standard_normal((batch, *shape)).astype(np.float32)
        assert_equal(model, network, {GraphIndex(model).inputs[0].name: images})


@pytest.mark.parametrize("name", ["resnet20"])
def test_the_newer_exporter_leaves_the_same_structure(name, tmp_path):
    source = assert_emitted_equals(exported(name, tmp_path, Exporter.DYNAMO))
    assert len(classes(source)) > 1
    assert_well_formatted(source)


def test_a_block_that_is_left_and_entered_again_dissolves():
    text = """net (float[N,4,8,8] x) => (float[N,4,8,8] y)
        <float[4,4,1,1] a_weight, float[4,4,1,1] b_weight, float[4,4,1,1] c_weight> {
        a = Conv(x, a_weight)
        b = Conv(a, b_weight)
        y = Conv(b, c_weight)
    }"""
    model = graph(text)
    for node, name in zip(model.graph.node, ("/block/first/Conv", "/between/Conv", "/block/last/Conv"), strict=True):
        node.name = name
    source = assert_emitted_equals(model)
    assert classes(source) == ["Model"]
    assert "self.block_first = nn.Conv2d(4, 4, 1, bias=False)" in source


def test_a_graph_without_names_is_one_flat_module():
    text = """net (float[N,3,8,8] x) => (float[N,4,8,8] y) <float[8,3,1,1] v, float[8] b, float[4,8,1,1] w> {
        a = Conv(x, v, b)
        r = Relu(a)
        y = Conv(r, w)
    }"""
    source = assert_emitted_equals(graph(text))
    assert "x = F.relu(self.bn1(self.conv1(x)))  # [N, 8, 8, 8]" in source
    assert "return self.conv2(x)  # [N, 4, 8, 8]" in source
    assert_well_formatted(source)


def test_a_block_is_never_called_like_an_import():
    text = """net (float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,1,1] v, float[4,4,1,1] w> {
        a = Conv(x, v)
        r = Relu(a)
        y = Conv(r, w)
    }"""
    model = graph(text)
    for node, name in zip(model.graph.node, ("/f/a/Conv", "/f/Relu", "/f/b/Conv"), strict=True):
        node.name = name
    assert classes(assert_emitted_equals(model)) == ["F2", "Model"]


def test_names_that_would_break_a_module_are_changed():
    text = """net (float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,1,1] u, float[4,4,1,1] v, float[4,4,1,1] w> {
        a = Conv(x, u)
        b = Conv(a, v)
        y = Conv(b, w)
    }"""
    model = graph(text)
    for node, name in zip(model.graph.node, ("/__init__/Conv", "/forward/Conv", "/class/Conv"), strict=True):
        node.name = name
    source = assert_emitted_equals(model)
    assert [f"self.{name} = nn.Conv2d" in source for name in ("init__", "forward2", "class_")] == [True] * 3


def test_other_floats_than_32_bits_stay_what_they_are():
    text = """net (double[N,4] x) => (double[N,6] y) <double[4,6] w, double[6] s> {
        a = MatMul(x, w)
        y = Mul(a, s)
    }"""
    assert "model = Model().to(torch.float64)" in assert_emitted_equals(graph(text))


def test_an_op_without_an_emitter_is_named():
    text = "net (float[N,3,3] x) => (float[N] y) { y = Det(x) }"
    with pytest.raises(ModelError, match=r"Det '-> y' cannot be written in PyTorch: there is no emitter for this op"):
        emitted(graph(text))


def test_a_second_output_that_is_used_is_refused():
    text = "net (float[N,3,8] x) => (float[N,3,4] y, int64[N,3,4] i) { y, i = MaxPool<kernel_shape = [5]>(x) }"
    with pytest.raises(ModelError, match="only its first output can be written, and another one is used"):
        emitted(graph(text))


def test_long_lines_are_broken_as_the_formatter_breaks_them():
    parts = ", ".join("x" for _ in range(40))
    source = assert_emitted_equals(graph(f"net (float[N,2] x) => (float[N,80] y) {{ y = Concat<axis = 1>({parts}) }}"))
    assert_well_formatted(source)


@pytest.mark.parametrize(
    ("data_type", "named"), [(onnx.TensorProto.STRING, "type STRING"), (0, "unknown type"), (99, "unknown type")]
)
def test_an_element_type_that_pytorch_lacks_is_named(data_type, named):
    with pytest.raises(ModelError, match=f"tensors of {named} cannot be written in PyTorch"):
        torch_dtype(data_type)
