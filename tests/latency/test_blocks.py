from oracle import analysed, graph
from small import network

from toolchain.latency.blocks import find_blocks
from toolchain.latency.contract import Extent


def blocks_of(model):
    return {block.name: block for block in find_blocks(analysed(model)).values()}


def test_a_block_reads_and_writes_the_groups_of_its_neighbours():
    blocks = blocks_of(network(width=32))
    assert blocks["stem"].input == Extent(3)
    assert blocks["stem"].output == blocks["body"].input == Extent(0, (("stem", 1, 32),))
    assert blocks["body"].groups == ("stem", "body")
    assert blocks["scores"].output == Extent(4)


def test_an_extent_counts_what_is_left():
    extent = Extent(3, (("a", 2, 8), ("b", 1, 4)))
    assert extent.at({}) == 3 + 16 + 4
    assert extent.at({"a": 5, "b": 0}) == 3 + 10
    assert extent.groups == ("a", "b")


def test_a_concat_gives_its_reader_several_groups():
    model = graph(
        """net (float[1,3,8,8] x) => (float[1,2,8,8] y) <
            float[8,3,1,1] left, float[4,3,1,1] right, float[2,12,1,1] last
        > {
            a = Conv(x, left)
            b = Conv(x, right)
            both = Concat<axis=1>(a, b)
            y = Conv(both, last)
        }"""
    )
    assert blocks_of(model)["y"].input == Extent(0, (("a", 1, 8), ("b", 1, 4)))


def test_a_depthwise_block_reads_what_it_writes():
    model = graph(
        """net (float[1,3,8,8] x) => (float[1,2,8,8] y) <
            float[8,3,1,1] first, float[8,1,3,3] each, float[2,8,1,1] last
        > {
            a = Conv(x, first)
            b = Conv<group=8, pads=[1,1,1,1]>(a, each)
            y = Conv(b, last)
        }"""
    )
    block = blocks_of(model)["b"]
    assert block.input == block.output == Extent(0, (("a", 1, 8),))


def test_blocks_of_one_spatial_size_are_of_one_stage():
    blocks = blocks_of(network())
    assert blocks["stem"].stage == blocks["body"].stage != blocks["scores"].stage
