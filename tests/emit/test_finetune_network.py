"""Weights on their way from the graph into the module, changed there, and back into the graph."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from emitted import EMITTERS
from oracle import execute, graph, random_feeds
from small import network, parameters

from passes.fold_batchnorm import FoldBatchnorm
from toolchain.emit.finetune import files
from toolchain.emit.finetune.files import write_training_files
from toolchain.emit.finetune.recipe import Recipe
from toolchain.graph.facts import bind_symbols
from toolchain.graph.normalise import normalise

SCRIPTS = Path(files.__file__).parent
DIGITS = Path(__file__).parents[2] / "models" / "digits_resnet.onnx"


@pytest.fixture
def scripts(monkeypatch):
    """The script's modules as they import each other: by their plain names."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import finetune_data
    import finetune_network

    yield finetune_network, finetune_data
    for name in ("model", "finetune_data", "finetune_network"):
        sys.modules.pop(name, None)


def opened(model, folder, scripts, monkeypatch, *, batchnorm=True):
    """Write a model's files and read its network as the script does."""
    monkeypatch.syspath_prepend(str(folder))
    model = normalise(model)
    written = write_training_files(folder, model, None, EMITTERS, batchnorm=batchnorm)
    onnx.save(model, folder / "model.onnx")
    recipe = json.loads((folder / "finetune.json").read_text())
    return scripts[0].read_network(folder, "model", "weights.safetensors"), recipe, written


CASES = {
    "conv with a folded BatchNorm": """net (float[N,3,8,8] x) => (float[N,2,6,6] y) <
        float[8,3,3,3] v, float[8] b, float[2,8,1,1] w, float[2] c> {
        a = Conv(x, v, b)
        r = Relu(a)
        y = Conv(r, w, c)
    }""",
    "transposed conv": """net (float[N,3,8,8] x) => (float[N,2,9,9] y) <
        float[3,4,2,2] v, float[4] b, float[2,4,1,1] w> {
        a = ConvTranspose(x, v, b)
        y = Conv(a, w)
    }""",
    "grouped transposed conv": """net (float[N,4,8,8] x) => (float[N,2,9,9] y) <
        float[4,3,2,2] v, float[6] b, float[2,6,1,1] w> {
        a = ConvTranspose<group=2>(x, v, b)
        y = Conv(a, w)
    }""",
    "BatchNorm of its own": """net (float[N,3,8,8] x) => (float[N,4,8,8] y) <
        float[4,3,1,1] v, float[4] s, float[4] t, float[4] m, float[4] e> {
        a = Conv(x, v)
        y = BatchNormalization(a, s, t, m, e)
    }""",
    "matrix products": """net (float[N,6] x) => (float[N,5] y) <
        float[6,7] u, float[7] b, float[4,7] v, float[1,4] c, float[4,5] w> {
        a = Gemm<alpha=0.5, beta=2.0>(x, u, b)
        r = Relu(a)
        g = Gemm<transB=1>(r, v, c)
        y = MatMul(g, w)
    }""",
    "a bias for all": """net (float[N,6] x) => (float[N,5] y) <float[6,5] u, float[1] b> { y = Gemm(x, u, b) }""",
    "slopes and norms": """net (float[N,4,8,8] x) => (float[N,4,8,8] y) <
        float[4,1,1] p, float[4] s, float[4] t, float[8] l, float[8] k> {
        a = PRelu(x, p)
        i = InstanceNormalization(a, s, t)
        y = LayerNormalization(i, l, k)
    }""",
    "one weight in two layers": """net (float[N,4,8,8] x) => (float[N,4,8,8] y) <
        float[4,4,1,1] w, float[4] b, float[4] c> {
        a = Conv(x, w, b)
        r = Relu(a)
        d = Conv(r, w, c)
        q = Relu(d)
        y = Conv(q, w)
    }""",
}


@pytest.mark.parametrize("batchnorm", [True, False], ids=["with BatchNorm", "without"])
@pytest.mark.parametrize("text", CASES.values(), ids=list(CASES))
def test_whatever_training_changes_comes_back_into_the_graph(text, batchnorm, tmp_path, scripts, monkeypatch):
    model = graph(text)
    for tensor in model.graph.initializer:
        if tensor.name == "e":  # a variance
            tensor.raw_data = np.abs(parameters(model)["e"]).tobytes()
    network, recipe, _ = opened(model, tmp_path, scripts, monkeypatch, batchnorm=batchnorm)
    scripts[0].freeze_the_rest(network, recipe)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert trained
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trained:
            parameter.mul_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
        for name, value in network.named_buffers():
            if value.is_floating_point():
                value.add_(0.3 * torch.rand(value.shape, generator=generator) if "var" in name else 0.1)
    model = onnx.load(tmp_path / "model.onnx")
    feeds = random_feeds(model, 0, bind_symbols(model, variant=0))
    inputs = [torch.from_numpy(value) for value in feeds.values()]
    assert scripts[0].write_back(network, recipe, tmp_path / "model.onnx", tmp_path / "new.onnx", inputs) < 1e-5
    new = onnx.load(tmp_path / "new.onnx")
    onnx.checker.check_model(new, full_check=True)
    expected = network(*inputs).detach().numpy()
    np.testing.assert_allclose(execute(new, feeds)["y"], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert not np.allclose(execute(model, feeds)["y"], expected, rtol=1e-2)


@pytest.mark.parametrize(("opset", "width"), [(18, 2), (21, 4)])
def test_group_norms_train_with_a_scale_a_group_or_a_channel(opset, width, tmp_path, scripts, monkeypatch):
    """A scale a group was repeated for its channels, and stayed as it was."""
    text = f"""net (float[N,4,8,8] x) => (float[N,4,8,8] y) <float[{width}] s, float[{width}] b> {{
        y = GroupNormalization<num_groups=2>(x, s, b)
    }}"""
    network, recipe, _ = opened(graph(text, opset=opset), tmp_path, scripts, monkeypatch)
    scripts[0].freeze_the_rest(network, recipe)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert [list(parameter.shape) for parameter in trained] == [[width], [width]]
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(torch.arange(width))
    inputs = [torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 8, 8)).astype(np.float32))]
    assert scripts[0].write_back(network, recipe, tmp_path / "model.onnx", tmp_path / "new.onnx", inputs) < 1e-5


def test_a_result_that_differs_is_not_written(tmp_path, scripts, monkeypatch):
    network, recipe, _ = opened(graph(CASES["matrix products"]), tmp_path, scripts, monkeypatch)
    recipe["sources"] = recipe["sources"][1:]
    with torch.no_grad():
        next(network.parameters()).mul_(2)
    with pytest.raises(
        scripts[1].Stop, match=r"^new\.onnx differs from the trained network by .* of the largest output$"
    ):
        scripts[0].write_back(network, recipe, tmp_path / "model.onnx", tmp_path / "new.onnx", [torch.ones(2, 6)])
    assert sorted(path.name for path in tmp_path.glob("*new*")) == []


def test_what_is_no_layers_does_not_train(tmp_path, scripts, monkeypatch):
    text = """net (float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,1,1] mean, float[4,4,1,1] w> {
        a = Sub(x, mean)
        y = Conv(a, w)
    }"""
    network, recipe, _ = opened(graph(text), tmp_path, scripts, monkeypatch)
    scripts[0].freeze_the_rest(network, recipe)
    assert [name for name, value in network.named_parameters() if value.requires_grad] == ["conv1.weight"]


def test_a_calibrated_batchnorm_changes_nothing_in_evaluation_and_little_in_training(tmp_path, scripts, monkeypatch):
    folded = FoldBatchnorm().run(normalise(onnx.load(DIGITS)), None).model
    network, recipe, _ = opened(folded, tmp_path, scripts, monkeypatch)
    assert recipe["batchnorms"], "the model's BatchNorm was folded"
    images = torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(images)
        neutral = network.train()(images)
    network, recipe, _ = opened(folded, tmp_path, scripts, monkeypatch)
    scripts[0].calibrate_batchnorms(network, recipe, [[images[:32]], [images[32:]]])
    with torch.no_grad():
        scale = float(before.abs().max())
        np.testing.assert_allclose(network.eval()(images), before, atol=1e-4 * scale)
        scripts[0].set_training(network, recipe, frozen_batchnorm=False)
        np.testing.assert_allclose(network(images), before, atol=1e-3 * scale)
    assert float((neutral - before).abs().max()) > 0.3 * scale


def test_a_batchnorm_whose_statistics_are_computed_keeps_them(tmp_path, scripts, monkeypatch):
    text = (
        CASES["BatchNorm of its own"]
        .replace("a = Conv(x, v)", "a = Conv(x, v) \n e2 = Abs(e)")
        .replace("m, e)", "m, e2)")
    )
    network, recipe, _ = opened(graph(text), tmp_path, scripts, monkeypatch)
    scripts[0].set_training(network, recipe, frozen_batchnorm=False)
    assert [name for name, module in network.named_modules() if name and not module.training] == ["bn1"]


FIXED = """net (float[{batch},3,2,2] x) => (float[{batch},4] y) <int64[2] s = {{{shape}}}, float[12,4] w> {{
    f = Reshape(x, s)
    y = MatMul(f, w)
}}"""


@pytest.mark.parametrize("batch", [1, 2])
def test_a_network_whose_graph_fixes_the_batch_is_run_in_pieces(batch, tmp_path, scripts, monkeypatch):
    model = graph(FIXED.format(batch=batch, shape=f"{batch}, 12"))
    network, recipe, _ = opened(model, tmp_path, scripts, monkeypatch)
    inputs = torch.rand(5, 3, 2, 2)
    assert scripts[0].batch_of(network, [inputs], recipe) == batch
    (found,) = scripts[0].outputs_of(network, [inputs], recipe, batch)
    torch.testing.assert_close(found, inputs.flatten(1) @ torch.tensor(parameters(model)["w"]))


def test_a_batch_that_is_stated_but_not_needed_does_not_matter(tmp_path, scripts, monkeypatch):
    network_of_one, recipe, _ = opened(network(batch=1), tmp_path, scripts, monkeypatch)
    assert scripts[0].batch_of(network_of_one, [torch.rand(4, 3, 8, 8)], recipe) == 0


def test_a_network_whose_samples_are_not_rows_is_refused(tmp_path, scripts, monkeypatch):
    flat = """net (float[1,3,2,2] x) => (float[4] y) <int64[1] s = {12}, float[12,4] w> {
        f = Reshape(x, s)
        y = MatMul(f, w)
    }"""
    network, recipe, _ = opened(graph(flat), tmp_path, scripts, monkeypatch)
    with pytest.raises(scripts[1].Stop, match="outputs for 1 samples are no rows of 1"):
        scripts[0].batch_of(network, [torch.rand(4, 3, 2, 2)], recipe)


def test_a_network_that_compares_its_samples_is_refused(tmp_path, scripts, monkeypatch):
    compared = """net (float[N,6] x) => (float[N,5] y) <float[6,5] w, int64[1] zero = {0}> {
        m = ReduceMean(x, zero)
        d = Sub(x, m)
        y = MatMul(d, w)
    }"""
    network, recipe, _ = opened(graph(compared), tmp_path, scripts, monkeypatch)
    with pytest.raises(scripts[1].Stop, match="depends on the others beside it"):
        scripts[0].batch_of(network, [torch.rand(4, 6)], recipe)


def test_the_recipe_knows_probabilities_from_logits():
    text = """net (float[N,6] x) => (float[N,5] p, float[N,6] r) <float[6,5] w> {
        y = MatMul(x, w)
        p = Softmax(y)
        r = Relu(x)
    }"""
    recipe = Recipe.of(graph(text), (), teacher=False)
    assert [(item.classes, item.probabilities) for item in recipe.outputs] == [(5, True), (None, False)]
    assert Recipe.of(network(), (), teacher=False).outputs[0].probabilities is False
