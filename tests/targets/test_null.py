import numpy as np
import onnx
import pytest
from onnx import parser

from toolchain.errors import ModelError, UsageError
from toolchain.measure.protocol import Protocol, compare, measure
from toolchain.targets.null import LAUNCH_US, SLICE_US, WAVE_US, Null

TARGET = Null()


def network(text: str) -> onnx.ModelProto:
    return parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> net ' + text)


def conv(width: int, channels: int = 64) -> onnx.ModelProto:
    return network(
        f"(float[1,{channels},32,32] x, float[{width},{channels},3,3] w) => (float[1,{width},32,32] y)"
        "{ [c] y = Conv<pads=[1,1,1,1]>(x, w) }"
    )


def single_us(model: onnx.ModelProto) -> float:
    (node,) = TARGET.node_latencies(model)
    return node.latency_ms * 1e3


@pytest.mark.parametrize(("width", "waves"), [(1, 2), (64, 2), (65, 4), (128, 4), (129, 6)])
def test_a_conv_costs_its_waves(width, waves):
    # 1024 positions are 16 tiles of 64 rows: two waves of 8 multiprocessors for each tile of columns
    assert single_us(conv(width)) == pytest.approx(LAUNCH_US + waves * (WAVE_US + 18 * SLICE_US))


def test_input_channels_cost_by_slices_of_depth():
    # depth 576 is 18 slices of 32; 60 channels are 540, 17 slices
    assert single_us(conv(64, 60)) == pytest.approx(LAUNCH_US + 2 * (WAVE_US + 17 * SLICE_US))


def test_a_depthwise_conv_is_bound_by_memory():
    model = network(
        "(float[1,512,32,32] x, float[512,1,3,3] w) => (float[1,512,32,32] y)"
        "{ y = Conv<pads=[1,1,1,1], group=512>(x, w) }"
    )
    assert single_us(model) == pytest.approx(LAUNCH_US + 4 * (2 * 512 * 1024 + 512 * 9) / 60_000)


@pytest.mark.parametrize(
    ("text", "tiles", "slices"),
    [
        ("(float[64,96] x, float[96,10] w) => (float[64,10] y) { y = Gemm(x, w) }", 1, 3),
        ("(float[96,64] x, float[10,96] w) => (float[64,10] y) { y = Gemm<transA=1, transB=1>(x, w) }", 1, 3),
        ("(float[2,32,96] x, float[96,10] w) => (float[2,32,10] y) { y = MatMul(x, w) }", 1, 3),
        ("(float[9,64,96] x, float[9,96,10] w) => (float[9,64,10] y) { y = MatMul(x, w) }", 9, 3),
        ("(float[96] x, float[96,10] w) => (float[10] y) { y = MatMul(x, w) }", 1, 3),
        (
            "(float[1,96,8,8] x, float[96,16,2,2] w) => (float[1,16,16,16] y)"
            "{ y = ConvTranspose<strides=[2,2]>(x, w) }",
            1,
            3,
        ),
    ],
)
def test_other_contractions_are_matrix_products(text, tiles, slices):
    waves = -(-tiles // TARGET.multiprocessors)
    assert single_us(network(text)) == pytest.approx(LAUNCH_US + waves * (WAVE_US + slices * SLICE_US))


def test_the_engine_is_the_sum_and_says_that_it_is_modelled(tmp_path):
    engine = TARGET.build(conv(64), tmp_path)
    assert '"modelled, not measured"' in engine.path.read_text()
    feeds = {"x": np.zeros((1, 64, 32, 32), np.float32)}
    latency = measure(TARGET, engine, feeds, protocol=Protocol(), rng=np.random.default_rng(0))
    assert not latency.measured
    assert latency.median_ms * 1e3 == pytest.approx(single_us(conv(64)) + LAUNCH_US)


def test_a_comparison_is_one_ratio_without_noise(tmp_path):
    wide, narrow = (TARGET.build(conv(width), tmp_path) for width in (128, 64))
    feeds = {"x": np.zeros((1, 64, 32, 32), np.float32)}
    found = compare(TARGET, wide, narrow, feeds, protocol=Protocol(), rng=np.random.default_rng(0))
    assert found.low == found.ratio == found.high < 0.6
    assert (found.verdict, found.converged, found.measured) == ("faster", True, False)


def test_an_input_of_open_size_is_named():
    model = network("(float[N,8,4,4] x, float[8,8,1,1] w) => (float[N,8,4,4] y) { [c] y = Conv(x, w) }")
    with pytest.raises(UsageError, match=r"^input 'x' axis 0 \('N'\) has no size; .*--input-shapes"):
        TARGET.node_latencies(model)


def test_a_shape_that_is_not_known_is_named():
    model = network(
        "(float[1,8,4,4] x, float[8,8,1,1] w) => (float[K,M,4,4] y)"
        "{ h = NonZero(x) z = Cast<to=1>(h) a = Unsqueeze(z, axes) [c] y = Conv(a, w) }".replace(
            "float[8,8,1,1] w)", "float[8,8,1,1] w, int64[2] axes)"
        )
    )
    with pytest.raises(ModelError, match=r"^Conv 'c': the shape of tensor 'a' is not known"):
        TARGET.node_latencies(model)


def test_shapes_that_follow_from_constant_nodes_are_known():
    model = network(
        "(float[1,4,4,4] x, float[8,8,1,1] w) => (float[1,8,4,4] y)"
        "{ before = Constant<value_ints=[0,2,0,0]>() pads = Concat<axis=0>(before, before) "
        "p = Pad(x, pads) [c] y = Conv(p, w) }"
    )
    (latency,) = TARGET.node_latencies(model)
    assert latency.latency_ms > 0


def test_contradicting_shapes_are_one_line():
    model = network("(float[1,8,4,4] x, float[8,8,1] w) => (float[1,8,4,4] y) { [c] y = Conv(x, w) }")
    with pytest.raises(ModelError, match=r"^Conv 'c': its shapes do not fit together \(") as caught:
        TARGET.node_latencies(model)
    assert "\n" not in str(caught.value)


def test_it_computes_no_outputs():
    assert not TARGET.executes
    assert TARGET.availability().ok


def test_its_profile_gives_what_follows_a_product_to_that_product(tmp_path):
    model = network(
        "(float[1,8,8,8] x, float[8,8,1,1] w, float[8,8,1,1] v) => (float[1,8,8,8] y)"
        "{ a = Conv(x, w) b = Relu(a) c = Conv(b, v) y = Add(b, c) }"
    )
    first, second = TARGET.profile(model, TARGET.build(model, tmp_path), {}, 3)
    assert (first.nodes, second.nodes, second.tensor) == (("a", "b"), ("c", "y"), "y")
    assert [kernel.latency_ms for kernel in TARGET.node_latencies(model)] == [*first.samples_ms, *second.samples_ms]
