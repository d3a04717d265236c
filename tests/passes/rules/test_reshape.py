import numpy as np
import pytest
from oracle import analysed, assert_pruned_equals_masked, graph, reasons, sandwich, widths

from passes.rules.reshape import reshape_labels
from toolchain.errors import ModelError


def test_labels_are_laid_out_only_where_they_vary() -> None:
    labels = np.arange(1, 5).reshape(1, 4, 1, 1)
    assert reshape_labels(labels, (2, 4, 3, 3), (2, 36)).tolist() == [np.repeat([1, 2, 3, 4], 9).tolist()]
    assert reshape_labels(labels, (2, 4, 3, 3), (2, 2, 2, 9)).shape == (1, 2, 2, 1)
    assert reshape_labels(labels, (2, 4, 3, 3), (2, 1, 4, 9, 1)).shape == (1, 1, 4, 1, 1)
    assert reshape_labels(np.zeros((1, 1), np.int64), (2, 4), (8,)).shape == (1,)


def test_flatten_spreads_channels_over_columns() -> None:
    model = graph(
        """net (float[N,3,4,4] x) => (float[N,5] y) <float[6,3,1,1] v, float[96,5] w> {
            a = Conv(x, v)
            f = Flatten(a)
            y = Gemm(f, w)
        }"""
    )
    pruned = assert_pruned_equals_masked(model, removed={"a": [1, 2]})
    assert pruned.shape("w") == (64, 5)


@pytest.mark.parametrize("target", ["0,96", "-1,96", "0,-1"])
def test_reshape_spreads_channels_over_columns(target: str) -> None:
    model = graph(
        f"""net (float[N,3,4,4] x) => (float[N,5] y)
        <float[6,3,1,1] v, float[96,5] w, int64[2] to = {{{target}}}> {{
            a = Conv(x, v)
            f = Reshape(a, to)
            y = Gemm(f, w)
        }}"""
    )
    assert_pruned_equals_masked(model)


def test_a_target_of_zero_copies_what_is_left() -> None:
    pruned = assert_pruned_equals_masked(
        sandwich("f = Reshape(a, flat) z = Reshape(f, back)",
                 declared="int64[3] flat = {0,0,-1}, int64[4] back = {0,0,8,8}")
    )  # fmt: skip
    assert [node.input[1] for node in pruned.model.graph.node if node.op_type == "Reshape"] == [
        "flat",
        "back",
    ]


def test_a_real_zero_of_allowzero_is_no_copy() -> None:
    model = sandwich("z = Reshape<allowzero=1>(a, to)", declared="int64[4] to = {-1,8,8,8}")
    assert_pruned_equals_masked(model)


@pytest.mark.parametrize("permutation", ["[0,2,3,1]", "[0,1,3,2]"])
def test_transpose_moves_channels(permutation: str) -> None:
    body = f"t = Transpose<perm={permutation}>(a) r = Relu(t) z = Transpose<perm=[0,3,1,2]>(r)"
    if permutation == "[0,1,3,2]":
        body = f"z = Transpose<perm={permutation}>(a)"
    assert_pruned_equals_masked(sandwich(body))


def test_transpose_without_a_permutation_reverses() -> None:
    assert_pruned_equals_masked(sandwich("t = Transpose(a) r = Sigmoid(t) z = Transpose(r)"))


@pytest.mark.parametrize("opset", [11, 13])
def test_axes_of_size_one_come_and_go(opset: int) -> None:
    old = opset < 13
    squeeze = "Squeeze<axes=[2,-1]>(g)" if old else "Squeeze(g, axes)"
    unsqueeze = "Unsqueeze<axes=[2,-1]>(r)" if old else "Unsqueeze(r, axes)"
    body = f"g = GlobalAveragePool(a) s = {squeeze} r = Sigmoid(s) z = {unsqueeze}"
    assert_pruned_equals_masked(sandwich(body, declared="int64[2] axes = {2,-1}", opset=opset))


@pytest.mark.parametrize("opset", [11, 13])
def test_squeeze_without_axes_leaves_a_channel_axis_that_shrinks_to_one(opset: int) -> None:
    model = graph(
        """net (float[N,3,8,8] x) => (float[N,4] y) <float[6,3,1,1] v, float[6,4] w> {
            a = Conv(x, v)
            p = GlobalAveragePool(a)
            s = Squeeze(p)
            y = Gemm(s, w)
        }""",
        opset=opset,
    )
    assert_pruned_equals_masked(model, removed={"a": [0, 1, 2, 3, 4]})


def test_a_target_computed_from_data_freezes() -> None:
    model = graph(
        """net (float[N,3,8,8] x, int64[2] to) => (float[P,Q] y) <float[6,3,1,1] v> {
            a = Conv(x, v)
            y = Reshape(a, to)
        }"""
    )
    assert reasons(model)["a"] == "Reshape '-> y': the shape of 'y' is not known"


def test_channels_merged_with_an_open_batch_come_apart_again() -> None:
    body = "m = Reshape(a, merged) r = Sigmoid(m) z = Reshape(r, back)"
    model = sandwich(body, declared="int64[3] merged = {-1,8,8}, int64[4] back = {-1,8,8,8}")
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_a_pool_over_channels_merged_with_the_batch_freezes_them() -> None:
    body = "m = Reshape(a, merged) p = MaxPool<kernel_shape=[2,2]>(m) z = Reshape(p, back)"
    model = sandwich(body, declared="int64[4] merged = {-1,1,8,8}, int64[4] back = {-1,8,7,7}")
    assert reasons(model)["a"] == "MaxPool '-> p': it mixes positions of a reshaped channel"


@pytest.mark.parametrize("sizes", ["{7,2}", "{1,16,2,2}"])
def test_sizes_that_do_not_fit_are_refused(sizes):
    model = graph(
        f"""net (float[1,3,2,2] x) => (float[a,b] y) <
            float[8,3,1,1] w, int64[{sizes.count(",") + 1}] s = {sizes}
        > {{
            a0 = Conv(x, w)
            y = Reshape(a0, s)
        }}"""
    )
    with pytest.raises(ModelError, match="Reshape '-> y': its inputs and attributes do not fit together"):
        analysed(model)
