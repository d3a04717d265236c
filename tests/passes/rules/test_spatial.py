import pytest
from oracle import assert_pruned_equals_masked, graph, reasons, sandwich, widths

POOLS = [
    "AveragePool<kernel_shape=[2,2], strides=[2,2]>(a)",
    "MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)",
    "LpPool<kernel_shape=[2,2]>(a)",
    "GlobalAveragePool(a)",
    "GlobalMaxPool(a)",
    "GlobalLpPool(a)",
]


@pytest.mark.parametrize("call", POOLS)
def test_pooling_passes_channels(call: str) -> None:
    assert_pruned_equals_masked(sandwich(f"z = {call}"))


def test_pooling_of_one_dimension_passes_channels() -> None:
    model = graph(
        """net (float[N,2,16] x) => (float[N,3,L] y) <float[6,2,3] v, float[3,6,1] w> {
            a = Conv(x, v)
            z = MaxPool<kernel_shape=[2]>(a)
            y = Conv(z, w)
        }"""
    )
    assert_pruned_equals_masked(model)


def test_pooling_over_a_channel_axis_keeps_it_whole() -> None:
    body = "t = Transpose<perm=[0,2,1,3]>(a) z = MaxPool<kernel_shape=[1,1]>(t)"
    assert reasons(sandwich(body))["a"] == "MaxPool '-> z': it mixes positions of a reshaped channel"


def test_indices_of_a_pool_count_all_channels() -> None:
    model = sandwich("z, i = MaxPool<kernel_shape=[2,2]>(a)")
    assert reasons(model)["a"] == "MaxPool '-> z': its indices count all channels"


@pytest.mark.parametrize(
    ("opset", "call", "declared"),
    [
        (10, "Resize(a, scales)", "float[4] scales = {1,1,2,2}"),
        (11, "Resize(a, roi, scales)", "float[0] roi = {}, float[4] scales = {1,1,2,2}"),
        (13, "Resize(a, , scales)", "float[4] scales = {1,1,1.5,2}"),
        (13, "Resize<mode=\"linear\">(a, , , sizes)", "int64[4] sizes = {2,8,5,12}"),
        (18, "Resize<axes=[2,3]>(a, , , sizes)", "int64[2] sizes = {5,12}"),
        (18, "Resize<axes=[1,2,3]>(a, , , sizes)", "int64[3] sizes = {8,5,12}"),
        (9, "Upsample(a, scales)", "float[4] scales = {1,1,2,2}"),
        (7, "Upsample<scales=[1.0,1.0,2.0,2.0]>(a)", ""),
    ],
)  # fmt: skip
def test_resizing_passes_channels(opset: int, call: str, declared: str) -> None:
    model = sandwich(f"z = {call}", declared=declared, opset=opset)
    if "sizes = {2" in declared:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
        model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    assert_pruned_equals_masked(model)


def test_resizing_along_the_channel_freezes_it() -> None:
    model = sandwich("z = Resize(a, , scales)", declared="float[4] scales = {1,2,1,1}", result_width=16)
    assert reasons(model)["a"] == "Resize '-> z': it changes the number of channels"


def test_sampling_by_a_fixed_grid_passes_channels() -> None:
    model = graph(
        """net (float[N,3,8,8] x, float[N,4,5,2] grid) => (float[N,2,4,5] y)
        <float[6,3,1,1] v, float[2,6,1,1] w> {
            a = Conv(x, v)
            z = GridSample(a, grid)
            y = Conv(z, w)
        }"""
    )
    assert_pruned_equals_masked(model)


def test_a_grid_is_positions_not_channels() -> None:
    model = graph(
        """net (float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[6,3,1,1] v, float[2,3,1,1] g, float[2,6,1,1] w> {
            a = Conv(x, v)
            offsets = Conv(x, g)
            grid = Transpose<perm=[0,2,3,1]>(offsets)
            z = GridSample(a, grid)
            y = Conv(z, w)
        }"""
    )
    assert widths(model) == {"a": 6}
    assert reasons(model)["offsets"] == "GridSample '-> z': it reads this as positions, not channels"


def test_regions_of_interest_pass_channels() -> None:
    model = graph(
        """net (float[2,3,8,8] x) => (float[2,2,2,2] y)
        <float[6,3,1,1] v, float[2,6,1,1] w, float[2,4] boxes = {0,0,4,4,1,1,7,7}, int64[2] images = {0,1}> {
            a = Conv(x, v)
            z = RoiAlign<output_height=2, output_width=2>(a, boxes, images)
            y = Conv(z, w)
        }"""
    )
    assert_pruned_equals_masked(model)
