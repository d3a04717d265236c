import pytest
from oracle import RULES, analysed
from small import network

from toolchain.latency.stair_macs import StairMacs


@pytest.fixture
def table():
    return StairMacs(analysed(network(width=32)), RULES, 8, baseline_ms=2.0)


def test_all_blocks_together_are_the_original(table):
    assert sum(table.block_ms(block, {}) for block in table.blocks) == pytest.approx(2.0)
    assert table.predict({}) == pytest.approx(1.0)


def test_a_narrower_group_makes_its_reader_cheaper_too(table):
    _, body, _ = table.blocks
    assert table.block_ms(body, {"stem": 16}) == pytest.approx(table.block_ms(body, {}) / 2)
    assert table.block_ms(body, {"stem": 16, "body": 16}) == pytest.approx(table.block_ms(body, {}) / 4)


def test_a_width_costs_what_the_next_multiple_costs(table):
    assert table.predict({"body": 17}) == table.predict({"body": 24}) < table.predict({"body": 25})
    assert table.steps("body") == (24, 16, 8)


def test_a_correction_explains_the_measurement_it_has_seen(table):
    widths = {"stem": 16, "body": 8}
    assert table.predict(widths) < 0.5
    assert table.corrected(widths, 0.6).predict(widths) == pytest.approx(0.6)
    assert table.corrected(widths, 0.6).predict({}) == pytest.approx(1.0)
