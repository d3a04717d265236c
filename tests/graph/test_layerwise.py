import numpy as np
import pytest
from onnx import numpy_helper
from oracle import execute, graph

from toolchain.graph.layerwise import run_between, run_layerwise


@pytest.fixture
def model():
    return graph(
        """net (float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,3,3] w1, float[4,4,1,1] w2> {
            a = Conv<pads=[1,1,1,1]>(x, w1)
            b = Relu(a)
            c = Conv(b, w2)
            d = Add(c, b)
            y = Relu(d)
        }"""
    )


@pytest.fixture
def feeds():
    generator = np.random.default_rng(0)
    return [{"x": generator.standard_normal((2, 3, 6, 6)).astype(np.float32)} for _ in range(3)]


def expected(model, feeds):
    return [execute(model, batch)["y"] for batch in feeds]


def assert_close(found, wanted):
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(wanted), rtol=1e-5, atol=1e-6)


def test_node_by_node_gives_what_the_whole_graph_gives(model, feeds):
    assert_close(run_layerwise(model, feeds)["y"], expected(model, feeds))


def test_a_stop_sees_what_is_still_to_be_read_and_the_nodes_after_it_see_what_it_changed(model, feeds):
    seen = []

    def prepare(node, values):
        seen.append((node.output[0], sorted(values)))
        if node.output[0] == "c":
            weight = next(item for item in model.graph.initializer if item.name == "w2")
            weight.CopyFrom(numpy_helper.from_array(np.eye(4, dtype=np.float32)[:, :, None, None], "w2"))

    found = run_between(model, feeds, {"c"}, prepare)
    assert seen == [("a", ["x"]), ("c", ["b"])]
    assert_close(found["y"], expected(model, feeds))


def test_what_visiting_changes_is_what_later_nodes_read(model, feeds):
    found = run_layerwise(
        model, feeds, lambda node, values: [0 * value for value in values] if node.output[0] == "a" else values
    )
    assert not np.concatenate(found["y"]).any()


def test_a_tensor_that_nothing_reads_is_not_kept(feeds):
    model = graph("net (float[N,3,6,6] x) => (float[N,3,6,6] y) { unread = Neg(x) y = Relu(x) }")
    assert_close(run_layerwise(model, feeds)["y"], expected(model, feeds))


def test_what_a_subgraph_captures_is_there_when_its_node_runs():
    model = graph(
        """net (float[N,3] x, bool c) => (float[N,3] y) <float[3] w = {1, 2, 3}> {
            a = Relu(x)
            b = Neg(a)
            d = If(c) <
                then_branch = one () => (float[N,3] t) { t = Mul(a, w) },
                else_branch = other () => (float[N,3] e) { e = Neg(a) }
            >
            y = Add(b, d)
        }"""
    )
    feeds = [{"x": np.float32([[1, -2, 3]]), "c": np.array(value)} for value in (True, False)]
    assert_close(run_layerwise(model, feeds)["y"], expected(model, feeds))
    assert_close(run_between(model, feeds, {"d", "y"}, lambda *_: None)["y"], expected(model, feeds))


def test_sizes_that_are_joined_behind_a_stop_are_read(feeds):
    """A Resize to the input's size, its Shape before a stop, was refused: "Number of elements of input 'sizes' (0)"."""
    model = graph(
        """net (float[N,3,H,W] x) => (float[N,4,A,B] y) <float[4,3,1,1] w1, float[4,4,1,1] w2> {
            size = Shape<start=2>(x)
            a = Conv<strides=[2,2]>(x, w1)
            b = Conv(a, w2)
            outer = Shape<end=2>(b)
            sizes = Concat<axis=0>(outer, size)
            y = Resize<mode="linear">(b, , , sizes)
        }"""
    )
    found = run_between(model, [*feeds, {"x": feeds[0]["x"][:1]}], {"b"}, lambda *_: None)
    assert_close(found["y"], expected(model, [*feeds, {"x": feeds[0]["x"][:1]}]))
