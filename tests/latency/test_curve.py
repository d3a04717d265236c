import numpy as np
import pytest
from oracle import RULES, graph
from small import network

from toolchain.graph.analysis import analyse
from toolchain.graph.deployment import random_feeds
from toolchain.latency.block_clock import BlockClock
from toolchain.latency.block_model import BlockModel
from toolchain.latency.curve import Axis, group_subject, layer_subjects, trace
from toolchain.latency.fusion import fuse
from toolchain.store.latency_store import LatencyStore
from toolchain.targets.null import Null

TILES = Null(multiprocessors=1, tile_rows=16, tile_columns=8, tile_depth=72)
"""Stairs of 8 channels along the output, and along the input of a 3x3 convolution."""


def blocks_of(model, folder, target=TILES):
    """Return a network's blocks as the target fuses them."""
    analysis = analyse(model, RULES, binding={})
    layers = target.profile(model, target.build(model, folder), random_feeds(model, {}, np.random.default_rng(0)), 1)
    return [BlockModel(analysis, one) for one in fuse(analysis, layers)]


def clock_in(folder, store=None):
    return BlockClock(TILES, folder, np.random.default_rng(0), store)


def test_layers_are_varied_along_the_axes_that_have_a_choice(tmp_path):
    subjects = layer_subjects(blocks_of(network(), tmp_path))
    assert [(item.layers, item.axis, item.full) for item in subjects] == [
        (("stem",), Axis.OUTPUT, 32),
        (("body",), Axis.OUTPUT, 32),
        (("body",), Axis.INPUT, 32),
        (("scores",), Axis.INPUT, 32),
    ]


def test_layers_of_one_signature_are_one_subject(tmp_path):
    text = "net (float[1,16,8,8] x) => (float[1,16,8,8] y) <float[16,16,3,3] w> {" + "".join(
        f"t{number + 1} = Conv<pads=[1,1,1,1]>({'x' if number == 0 else f't{number}'}, w{number})"
        for number in range(4)
    )
    weights = ", ".join(f"float[16,16,3,3] w{number}" for number in range(5))
    model = graph(text.replace("float[16,16,3,3] w>", f"{weights}>") + " y = Conv<pads=[1,1,1,1]>(t4, w4) }")
    subjects = layer_subjects(blocks_of(model, tmp_path))
    assert [(item.layers, item.axis) for item in subjects] == [
        (("t1", "t2", "t3", "t4"), Axis.OUTPUT),
        (("t2", "t3", "t4", "y"), Axis.INPUT),
    ]


def test_input_and_output_of_a_depthwise_convolution_go_together(tmp_path):
    model = graph("""net (float[1,3,8,8] x) => (float[1,4,8,8] y)
        <float[24,3,1,1] a, float[24,1,3,3] b, float[4,24,1,1] c> {
        wide = Conv(x, a) each = Conv<group=24, pads=[1,1,1,1]>(wide, b) y = Conv(each, c)
    }""")
    subject = next(item for item in layer_subjects(blocks_of(model, tmp_path)) if item.layers == ("each",))
    assert (subject.axis, subject.full) == (Axis.BOTH, 24)
    ((_, pair),) = subject.pairs(7)
    assert (pair.input, pair.output) == (7, 7)


def test_widths_of_a_grouped_convolution_are_multiples_of_its_groups(tmp_path):
    model = graph("""net (float[1,3,8,8] x) => (float[1,4,8,8] y)
        <float[32,3,1,1] a, float[32,8,3,3] b, float[4,32,1,1] c> {
        wide = Conv(x, a) grouped = Conv<group=4, pads=[1,1,1,1]>(wide, b) y = Conv(grouped, c)
    }""")
    subject = next(item for item in layer_subjects(blocks_of(model, tmp_path)) if item.layers == ("grouped",))
    curve = trace(subject, clock_in(tmp_path), TILES.width_alignment(), exhaustive=True)
    assert [width for width, _ in curve.steps.points] == [4 * number for number in range(1, 9)]


def test_a_search_finds_the_steps_of_a_sweep(tmp_path):
    for subject in layer_subjects(blocks_of(network(width=48), tmp_path)):
        found, swept = (
            trace(subject, clock_in(tmp_path), TILES.width_alignment(), exhaustive=e) for e in (False, True)
        )
        assert found.steps.widths == swept.steps.widths, subject.layers
        assert found.steps.timings < swept.steps.timings == swept.sweep == 48


def test_a_group_costs_what_all_its_layers_cost(tmp_path):
    blocks = blocks_of(network(), tmp_path)
    subject = group_subject(blocks, "stem")
    assert subject is not None
    assert subject.layers == ("stem", "body")
    clock = clock_in(tmp_path)
    curve = trace(subject, clock, TILES.width_alignment())
    at_full = sum(clock.milliseconds(block, block.weighted.full) for block in blocks[:2])
    assert curve.steps.points[-1][1].milliseconds == pytest.approx(at_full, rel=1e-9)
    assert set(curve.steps.widths) >= {24, 16, 8}


def test_a_group_that_no_block_knows_has_no_curve(tmp_path):
    assert group_subject(blocks_of(network(), tmp_path), "nobody") is None


def test_a_second_curve_is_read_from_the_store(tmp_path):
    subject = layer_subjects(blocks_of(network(), tmp_path))[1]
    with LatencyStore(tmp_path / "store.sqlite", print) as store:
        first, second = clock_in(tmp_path, store), clock_in(tmp_path, store)
        assert (
            trace(subject, first, TILES.width_alignment()).steps
            == trace(subject, second, TILES.width_alignment()).steps
        )
    assert first.timings > 0
    assert second.timings == 0
