import pytest
from oracle import graph

from toolchain.graph.index import GraphIndex
from toolchain.targets.layer_time import first_outputs, names_to_nodes, share_nodes

RESIDUAL = """net (float[1,4,8,8] x) => (float[1,4,8,8] y) <
    float[4,4,1,1] one, float[4,4,1,1] two, float[4] scale, float[4] shift, float[4] mean, float[4] variance
> {
    [first] a = Conv(x, one)
    normal = BatchNormalization(a, scale, shift, mean, variance)
    b = Relu(normal)
    c = Conv(b, two)
    d = Add(b, c)
    y = Relu(d)
}"""


def shares(*named):
    index = GraphIndex(graph(RESIDUAL))
    claims = [[index.producers[name] for name in names] for names in named]
    return [first_outputs(index, share) for share in share_nodes(index, claims)]


def test_what_is_folded_before_and_appended_after_belongs_to_the_named_kernel():
    assert shares(["b"], ["c"]) == [("a", "normal", "b"), ("c", "d", "y")]


def test_a_kernel_that_names_a_weighted_node_takes_nothing_before_it():
    assert shares(["a"], ["c"]) == [("a", "normal", "b"), ("c", "d", "y")]


def test_nodes_with_kernels_of_their_own_are_left_to_them():
    assert shares(["a", "normal"], ["b"], ["c"], ["d"], ["y"]) == [("a", "normal"), ("b",), ("c",), ("d",), ("y",)]


def test_an_addition_goes_to_the_branch_that_runs_last():
    assert shares(["c"], ["b"])[1] == ("a", "normal", "b", "d", "y")


def test_a_kernel_that_names_nothing_owns_nothing():
    assert shares([], ["b"], [], ["c"])[::2] == [(), ()]


@pytest.mark.parametrize(("name", "node"), [("first", 0), ("a", 0), ("y", 5)])
def test_nodes_are_found_by_their_name_and_by_their_output(name, node):
    assert names_to_nodes(graph(RESIDUAL))[name] == node
