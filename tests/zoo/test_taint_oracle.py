"""The taint oracle sees what moves, whatever else the tensor holds."""

from oracle import graph
from zoo.taint import taint


def test_a_channel_is_seen_to_move_beside_one_that_is_a_million_times_louder() -> None:
    model = graph("""
        net (float[N,3,8,8] x) => (float[N,2,8,8] y) <
            float[4,3,1,1] stem, float[4,4,1,1] block, float[2,4,1,1] head, float[1,4,1,1] gain = {1, 1, 1, 1000000}
        > {
            a = Conv(x, stem)
            b = Conv(a, block)
            sum = Add(a, b)
            loud = Mul(sum, gain)
            y = Conv(loud, head)
        }""")
    assert taint(model).units == {frozenset({("stem", i), ("block", i)}) for i in range(4)}
