import pytest
from oracle import assert_pruned_equals_masked, reasons, sandwich, widths


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_the_channels_that_share_a_block_are_one_unit(mode: str) -> None:
    model = sandwich(f'z = DepthToSpace<blocksize=2, mode="{mode}">(a)', width=12, result_width=3)
    assert widths(model) == {"a": 3}
    pruned = assert_pruned_equals_masked(model, removed={"a": [1]})
    assert pruned.shape("a_weight") == (8, 3, 1, 1)


def test_space_to_depth_repeats_its_channels() -> None:
    model = sandwich("z = SpaceToDepth<blocksize=2>(a)", result_width=32)
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_there_and_back_again() -> None:
    model = sandwich("d = SpaceToDepth<blocksize=2>(a) s = DepthToSpace<blocksize=2>(d) z = Add(s, c)")
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_a_single_block_that_spans_all_channels_stays_whole() -> None:
    model = sandwich("z = DepthToSpace<blocksize=2>(a)", width=4, result_width=1)
    assert widths(model) == {}
    assert "a" not in reasons(model)
