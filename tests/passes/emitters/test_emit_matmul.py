import pytest
from emitted import assert_emitted_equals
from oracle import graph


@pytest.mark.parametrize("options", ["", "<transB = 1>", "<alpha = 0.5, beta = 2.0>"])
@pytest.mark.parametrize("bias", ["float[4] c", "float[1,4] c", "float c", ""])
def test_gemm_is_a_linear_layer(options, bias):
    weight = "float[4,6] w" if "transB" in options else "float[6,4] w"
    text = f"""net (float[N,6] x) => (float[N,4] y) <{", ".join(filter(None, [weight, bias]))}> {{
        y = Gemm{options}(x, w{", c" if bias else ""})
    }}"""
    assert "nn.Linear(6, 4" in assert_emitted_equals(graph(text))


@pytest.mark.parametrize("options", ["transA = 1", "transA = 1, transB = 1, alpha = 0.5, beta = 2.0"])
def test_gemm_of_computed_operands_is_a_product(options):
    right = "float[4,6] b" if "transB" in options else "float[6,4] b"
    text = f"net (float[6,N] a, {right}, float[N,4] c) => (float[N,4] y) {{ y = Gemm<{options}>(a, b, c) }}"
    assert "a, x.T @" not in assert_emitted_equals(graph(text))


def test_matmul_with_a_stored_matrix_is_a_linear_layer():
    text = "net (float[N,5,6] x) => (float[N,5,4] y) <float[6,4] w> { y = MatMul(x, w) }"
    assert "nn.Linear(6, 4, bias=False)" in assert_emitted_equals(graph(text))


def test_matmul_of_computed_operands_is_a_product():
    text = "net (float[N,5,6] x, float[N,6,5] z) => (float[N,5,5] y) { y = MatMul(x, z) }"
    assert "return x @ y" in assert_emitted_equals(graph(text))


def test_a_stored_left_operand_is_a_parameter():
    text = "net (float[N,5,6] x) => (float[N,4,6] y) <float[4,5] w> { y = MatMul(w, x) }"
    assert "nn.Parameter(torch.empty(4, 5))" in assert_emitted_equals(graph(text))
