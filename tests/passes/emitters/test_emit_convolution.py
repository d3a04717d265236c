import onnx
import pytest
from emitted import assert_emitted_equals
from oracle import graph

CONVOLUTIONS = {
    "plain": ("[8,3,3,3]", "pads = [1,1,1,1]"),
    "strided and dilated": ("[8,3,3,5]", "strides = [2,1], dilations = [1,2], pads = [1,0,1,0]"),
    "grouped": ("[6,1,3,3]", "group = 3"),
    "padded on one side": ("[8,3,3,3]", "pads = [0,1,2,3], strides = [2,2]"),
    "auto_pad": ("[8,3,4,4]", 'auto_pad = "SAME_UPPER"'),
}


@pytest.mark.parametrize(("shape", "options"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("batchnorm", [True, False])
def test_a_convolution_is_a_layer(shape, options, batchnorm):
    width = shape[1]
    text = f"""net (float[N,3,H,W] x) => (float[N,2,P,Q] y)
        <float{shape} w, float[{width}] b, float[2,{width},1,1] v, float[2] c> {{
        a = Conv<{options}>(x, w, b)
        r = Relu(a)
        y = Conv(r, v, c)
    }}"""
    source = assert_emitted_equals(graph(text), batchnorm=batchnorm)
    assert ("nn.BatchNorm2d" in source) == batchnorm
    assert source.count("nn.Conv2d") == 2


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_every_dimension_has_its_layer(rank, op):
    sizes = ",".join(["6"] * rank)
    kernel = ",".join(["3"] * rank)
    text = f"""net (float[N,4,{sizes}] x) => (float[N,Z] z) <float[4,4,{kernel}] w, float[4] b> {{
        y = {op}<strides = [{",".join(["2"] * rank)}]>(x, w, b)
        z = Flatten(y)
    }}"""
    kind = "ConvTranspose" if op == "ConvTranspose" else "Conv"
    assert f"nn.{kind}{rank}d(4, 4, 3, stride=2)" in assert_emitted_equals(graph(text))


TRANSPOSED = {
    "symmetric": "pads = [1,1,1,1], strides = [2,2], output_padding = [1,1]",
    "cropped on one side": "pads = [0,0,1,1], strides = [2,2]",
    "grouped": "group = 2, strides = [2,2]",
    "auto_pad": 'auto_pad = "SAME_LOWER", strides = [2,2]',
}


@pytest.mark.parametrize("options", TRANSPOSED.values(), ids=TRANSPOSED)
def test_a_transposed_convolution_is_a_layer(options):
    text = f"""net (float[N,4,8,8] x) => (float[N,C,P,Q] y) <float[4,3,3,3] w> {{
        y = ConvTranspose<{options}>(x, w)
    }}"""
    assert_emitted_equals(graph(text))


def test_computed_weights_are_operands():
    text = """net (float[N,3,8,8] x, float[4,3,3,3] w) => (float[N,4,P,Q] y) {
        y = Conv<pads = [1,1,1,1]>(x, w)
    }"""
    assert "F.conv2d(x, y, padding=1)" in assert_emitted_equals(graph(text))


def test_a_head_keeps_its_bias():
    text = """net (float[N,3,8,8] x) => (float[N,C] y) <float[4,3,3,3] w, float[4] b> {
        a = Conv(x, w, b)
        y = Flatten(a)
    }"""
    assert "BatchNorm" not in assert_emitted_equals(graph(text))


def test_a_convolution_with_a_batchnorm_gets_no_second_one():
    text = """net (float[N,3,8,8] x) => (float[N,4,P,Q] y) <float[4,3,3,3] w, float[4] b, float[4] s, float[4] t,
        float[4] m, float[4] variance, float[4,4,1,1] v> {
        a = Conv(x, w, b)
        n = BatchNormalization(a, s, t, m, variance)
        y = Conv(n, v)
    }"""
    source = assert_emitted_equals(graph(text))
    assert source.count("nn.BatchNorm2d") == 1


def test_weights_used_twice_are_one_layer():
    text = """net (float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,1,1] w> {
        a = Conv(x, w)
        b = Relu(a)
        y = Conv(b, w)
    }"""
    model = graph(text)
    onnx.checker.check_model(model)
    assert assert_emitted_equals(model).count("nn.Conv2d") == 1
