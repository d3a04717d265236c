"""Coverage counts every output channel of every weighted layer once."""

from oracle import analysed, graph

from toolchain.graph.coverage import coverage
from toolchain.graph.labels import Role


def test_a_layer_that_makes_one_channel_counts_as_one() -> None:
    analysis = analysed(
        graph("""
        net (float[N,3,8,8] x) => (float[N,1,8,8] y) <float[64,3,1,1] stem, float[1,64,1,1] mask> {
            a = Conv(x, stem)
            y = Conv(a, mask)
        }""")
    )
    assert (coverage(analysis).channels, coverage(analysis).prunable) == (65, 64)
    assert {site.axis for site in analysis.sites if site.role is Role.PRODUCES} == {0}
