import pytest
from emitted import assert_emitted_equals
from oracle import graph


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_channels_become_positions(mode):
    text = f"""net (float[N,12,4,4] x) => (float[N,3,8,8] y) {{
        y = DepthToSpace<blocksize = 2, mode = "{mode}">(x)
    }}"""
    assert "F.pixel_shuffle(" in assert_emitted_equals(graph(text))


def test_positions_become_channels():
    text = "net (float[N,3,8,8] x) => (float[N,12,4,4] y) { y = SpaceToDepth<blocksize = 2>(x) }"
    assert "F.pixel_unshuffle(" in assert_emitted_equals(graph(text))
