import pytest
from oracle import analysed, graph

from toolchain.latency.contract import Extent
from toolchain.latency.rest import RestKernel, rest_kernels
from toolchain.targets.layer_time import LayerTime

BRANCHES = """net (float[1,3,8,8] x) => (float[1,2,1,1] y) <
    float[8,3,1,1] stem, float[4,8,1,1] inner, float[8,4,1,1] outer, float[2,8,1,1] last
> {
    s = Conv(x, stem)
    a = Conv(s, inner)
    b = Conv(a, outer)
    c = Add(b, s)
    d = GlobalAveragePool(c)
    y = Conv(d, last)
}"""


def test_kernels_without_blocks_are_the_rest():
    layers = [
        LayerTime("stem", "Conv", ("s",), "s", (5.0,)),
        LayerTime("reorder", "ReorderOutput", (), "s", (1.0,)),
        LayerTime("add", "Add", ("c",), "c", (2.0, 2.0)),
        LayerTime("unknown", "Mystery", (), "", (0.5,)),
    ]
    reorder, add, unknown = rest_kernels(analysed(graph(BRANCHES)), layers, ["s"])
    stream = Extent(0, (("s", 1, 8),))
    assert reorder == RestKernel("ReorderOutput", 1.0, stream, ())
    assert add == RestKernel("Add", 2.0, stream, (stream, stream))
    assert unknown.at({"s": 1}) == 0.5


def test_a_kernel_scales_with_the_channels_it_writes():
    kernel = RestKernel("Relu", 2.0, Extent(0, (("s", 1, 8),)), ())
    assert [kernel.at({"s": width}) for width in (8, 6, 0)] == pytest.approx([2.0, 1.5, 0.0])


def test_an_addition_without_its_other_branch_is_gone_and_a_concatenation_is_shorter():
    whole, branch = Extent(8), Extent(0, (("a", 1, 4),))
    assert RestKernel("Add", 2.0, whole, (whole, branch)).at({"a": 0}) == 0
    both = Extent(8, (("a", 1, 4),))
    assert RestKernel("Concat", 3.0, both, (whole, branch)).at({"a": 0}) == pytest.approx(2.0)
    assert RestKernel("Concat", 3.0, branch, (branch, branch)).at({"a": 0}) == 0
