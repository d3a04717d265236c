import pytest
from oracle import assert_pruned_equals_masked, graph, reasons, widths

HEAD = "net (float[N,6] x) => (float[N,3] y)"


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", ["float[8] b", "float[1,8] b"])
def test_gemm_ends_labels_and_starts_new_ones(transposed: int, bias: str) -> None:
    v, w = ("8,6", "3,8") if transposed else ("6,8", "8,3")
    model = graph(
        f"""{HEAD} <float[{v}] v, {bias}, float[{w}] w> {{
            a = Gemm<transB={transposed}, alpha=0.5, beta=2.0>(x, v, b)
            r = Sigmoid(a)
            y = Gemm<transB={transposed}>(r, w)
        }}"""
    )
    pruned = assert_pruned_equals_masked(model, removed={"a": [1, 4, 5]})
    assert pruned.shape("b")[-1] == 5


def test_gemm_with_a_transposed_operand_contracts_its_first_axis() -> None:
    model = graph(
        f"""{HEAD} <float[6,8] v, float[8,3] w> {{
            a = Gemm(x, v)
            t = Transpose(a)
            y = Gemm<transA=1>(t, w)
        }}"""
    )
    assert_pruned_equals_masked(model)


def test_a_scalar_bias_of_gemm_is_left_alone() -> None:
    model = graph(f"{HEAD} <float[6,8] v, float[1] b, float[8,3] w> {{ a = Gemm(x, v, b) y = Gemm(a, w) }}")
    assert assert_pruned_equals_masked(model).shape("b") == (1,)


def test_a_computed_weight_of_gemm_freezes() -> None:
    model = graph(f"{HEAD} <float[6,8] v, float[8,3] w> {{ a = Gemm(x, v) t = Tanh(w) y = Gemm(a, t) }}")
    assert reasons(model)["a"] == "Gemm '-> y': its weight or bias is computed, not stored"


def test_matmul_with_a_constant_on_the_right() -> None:
    model = graph(
        """net (float[N,5,6] x) => (float[N,5,3] y) <float[6,8] v, float[8] b, float[8,3] w> {
            a = MatMul(x, v)
            s = Add(a, b)
            r = Gelu(s)
            y = MatMul(r, w)
        }"""
    )
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 7]})
    assert pruned.shape("b") == (6,)


def test_matmul_with_a_constant_on_the_left_contracts_the_row_axis() -> None:
    model = graph(
        """net (float[N,6,5] x) => (float[N,3,5] y) <float[8,6] v, float[8,1] b, float[3,8] w> {
            a = MatMul(v, x)
            s = Add(a, b)
            y = MatMul(w, s)
        }"""
    )
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 7]})
    assert pruned.shape("w") == (3, 6)


def test_a_batched_constant_shares_its_units_over_the_batch() -> None:
    model = graph(
        """net (float[N,4,5,6] x) => (float[N,4,5,3] y) <float[4,6,8] v, float[4,8,3] w> {
            a = MatMul(x, v)
            y = MatMul(a, w)
        }"""
    )
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_a_batched_constant_along_whose_batch_channels_run_freezes_them() -> None:
    model = graph(
        """net (float[N,3,5,6] x) => (float[N,2,5,7] y) <float[4,3,1,1] v, float[4,6,7] m, float[2,4,1,1] w> {
            a = Conv(x, v)
            b = MatMul(a, m)
            y = Conv(b, w)
        }"""
    )
    assert reasons(model)["a"] == "MatMul '-> b': its constant holds one matrix for each of these channels"


def test_a_product_over_tokens_passes_channels() -> None:
    model = graph(
        """net (float[N,5,6] x) => (float[N,4,3] y) <float[6,8] v, float[4,5] tokens, float[8,3] w> {
            a = MatMul(x, v)
            m = MatMul(tokens, a)
            y = MatMul(m, w)
        }"""
    )
    assert_pruned_equals_masked(model)


def test_a_product_along_positions_passes_channels() -> None:
    model = graph(
        """net (float[N,3,5,6] x) => (float[N,2,5,7] y) <float[4,3,1,1] v, float[6,7] m, float[2,4,1,1] w> {
            a = Conv(x, v)
            b = MatMul(a, m)
            y = Conv(b, w)
        }"""
    )
    assert_pruned_equals_masked(model)


def test_values_of_a_single_attention_head_pass_its_product() -> None:
    model = graph(
        """net (float[N,5,6] x) => (float[N,5,3] y)
        <float[6,6] query, float[6,6] key, float[6,8] value, float[8,3] w> {
            q = MatMul(x, query)
            k = MatMul(x, key)
            v = MatMul(x, value)
            t = Transpose<perm=[0,2,1]>(k)
            l = MatMul(q, t)
            s = Softmax<axis=-1>(l)
            h = MatMul(s, v)
            y = MatMul(h, w)
        }"""
    )
    assert widths(model) == {"v": 8}
    assert reasons(model)["q"] == "MatMul '-> l': it sums products of two computed tensors over these"
    assert_pruned_equals_masked(model)


def test_heads_of_attention_go_as_a_whole() -> None:
    model = graph(
        """net (float[N,5,6] x) => (float[N,5,3] y)
        <float[6,12] query, float[6,12] key, float[6,12] value, float[12,3] w> {
            heads = Constant<value_ints=[0,5,4,3]>()
            flat = Constant<value_ints=[0,5,-1]>()
            q = MatMul(x, query)
            k = MatMul(x, key)
            v = MatMul(x, value)
            q4 = Reshape(q, heads)
            k4 = Reshape(k, heads)
            v4 = Reshape(v, heads)
            qh = Transpose<perm=[0,2,1,3]>(q4)
            kh = Transpose<perm=[0,2,3,1]>(k4)
            vh = Transpose<perm=[0,2,1,3]>(v4)
            l = MatMul(qh, kh)
            s = Softmax<axis=-1>(l)
            o = MatMul(s, vh)
            t = Transpose<perm=[0,2,1,3]>(o)
            h = Reshape(t, flat)
            y = MatMul(h, w)
        }"""
    )
    assert widths(model) == {"q": 4}
    assert assert_pruned_equals_masked(model, removed={"q": [1, 2]}).shape("value") == (6, 6)


def test_one_weight_for_each_position_passes_channels() -> None:
    model = graph(
        """net (float[N,3,6] x) => (float[N,2,1] y) <float[4,3,1] v, float[1,3,1] m, float[2,4,1] w> {
            a = Conv(x, v)
            b = Conv(x, m)
            t = Transpose<perm=[0,2,1]>(b)
            p = MatMul(a, t)
            y = Conv(p, w)
        }"""
    )
    assert widths(model) == {"a": 4}
    assert_pruned_equals_masked(model)


def test_an_outer_product_of_channels_freezes_both_sides() -> None:
    model = graph(
        """net (float[N,3,1] x) => (float[N,4,5] y) <float[4,3,1] v, float[5,3,1] u> {
            a = Conv(x, v)
            b = Conv(x, u)
            t = Transpose<perm=[0,2,1]>(b)
            y = MatMul(a, t)
        }"""
    )
    why = "MatMul '-> y': its operands carry channels along different axes"
    assert reasons(model) == {"a": why, "b": why}


def test_a_computed_operand_that_cannot_shrink_freezes_the_other() -> None:
    model = graph(
        """net (float[N,3,5,6] x, float[N,4,6,5] k) => (float[N,2,5,5] y) <float[4,3,1,1] v, float[2,4,1,1] w> {
            a = Conv(x, v)
            p = MatMul(a, k)
            y = Conv(p, w)
        }"""
    )
    assert reasons(model)["a"] == "MatMul '-> p': one operand cannot lose the channels of the other"


def test_a_product_with_a_vector_freezes() -> None:
    model = graph(
        """net (float[N,3,6] x, float[6] k) => (float[N,2] y) <float[4,3,1] v, float[4,2] w> {
            a = Conv(x, v)
            p = MatMul(a, k)
            y = MatMul(p, w)
        }"""
    )
    assert reasons(model)["a"] == "MatMul '-> p': it multiplies a matrix by a vector along their channels"
