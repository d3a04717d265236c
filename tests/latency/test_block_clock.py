import sqlite3
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from oracle import analysed
from small import network

from toolchain.latency.block_clock import BlockClock
from toolchain.latency.block_model import BlockModel
from toolchain.latency.fusion import fuse
from toolchain.latency.measured_table import measured_table
from toolchain.latency.quiet import quiet_ms
from toolchain.latency.weighted import Pair
from toolchain.measure.pace import Pace
from toolchain.store.latency_store import LatencyStore
from toolchain.targets.null import LAUNCH_US, Null
from toolchain.targets.onnxruntime import Onnxruntime


@dataclass(frozen=True)
class Silent(Null):
    """A target that does not tell what single kernels take."""

    profiles: ClassVar[bool] = False


def body():
    """Return the small network's second block, alone."""
    analysis = analysed(network(width=32))
    return BlockModel(analysis, fuse(analysis, ())[1])


def clock_of(target, folder, store=None):
    return BlockClock(target, folder, np.random.default_rng(0), store)


def test_without_a_profile_the_whole_small_engine_is_timed(tmp_path):
    block, pair = body(), Pair(24, 16)
    silent = clock_of(Silent(), tmp_path).milliseconds(block, pair)
    assert silent == pytest.approx(clock_of(Null(), tmp_path).milliseconds(block, pair) + LAUNCH_US / 1e3)


def test_a_network_is_predicted_without_a_profile(tmp_path):
    table = measured_table(analysed(network(width=128)), Silent(), tmp_path, np.random.default_rng(0))
    assert table.predict({}) == pytest.approx(1.0)
    assert table.predict({"stem": 64, "body": 64}) < 0.9


def test_a_latency_says_what_it_was_measured_on(tmp_path):
    target = Onnxruntime()
    latency = clock_of(target, tmp_path).latency(body(), Pair(32, 16))
    assert latency.identity == target.identity()
    assert latency.measured
    assert latency.low_ms <= latency.high_ms
    assert len(latency.samples_ms) >= 12


def test_what_another_process_timed_is_taken_from_the_store(tmp_path):
    block, pair, target = body(), Pair(32, 16), Onnxruntime()
    with LatencyStore(tmp_path / "store", print) as store:
        first = clock_of(target, tmp_path, store).latency(block, pair)
    with LatencyStore(tmp_path / "store", print) as store:
        clock = clock_of(target, tmp_path, store)
        assert clock.milliseconds(block, pair) > 0
        assert clock.latency(block, pair) == first
    assert (clock.timings, clock.shared) == (0, 1)


def test_another_target_does_not_answer_for_this_one(tmp_path):
    block, pair = body(), Pair(32, 16)
    with LatencyStore(tmp_path / "store", print) as store:
        clock_of(Null(), tmp_path, store).latency(block, pair)
        other = clock_of(Null(multiprocessors=1), tmp_path, store)
        other.latency(block, pair)
    assert other.timings == 1


def test_an_unreadable_entry_is_timed_again(tmp_path):
    block, pair = body(), Pair(32, 16)
    with LatencyStore(tmp_path / "store", print) as store:
        expected = clock_of(Null(), tmp_path, store).milliseconds(block, pair)
    with sqlite3.connect(tmp_path / "store") as connection:
        connection.execute("UPDATE entry SET document = '{}'")
    connection.close()
    with LatencyStore(tmp_path / "store", print) as store:
        clock = clock_of(Null(), tmp_path, store)
        assert clock.milliseconds(block, pair) == expected
    assert clock.timings == 1


def test_what_had_to_be_scaled_to_the_pace_is_replaced_when_it_is_timed_again(tmp_path):
    clock = clock_of(Onnxruntime(), tmp_path)
    slowed = [False]
    clock.pace = Pace(look=lambda: 200.0 if slowed[0] else 100.0)
    assert clock.latency(body(), Pair(32, 32)).pace_us == 100.0
    slowed[0] = True
    scaled = clock.latency(body(), Pair(32, 16))
    slowed[0] = False
    again = clock.again(body(), Pair(32, 16))
    assert quiet_ms(again.samples_ms) > quiet_ms(scaled.samples_ms)
    assert clock.again(body(), Pair(32, 16)) == again


def test_what_the_store_knows_at_one_pace_sets_that_of_the_clock(tmp_path):
    with LatencyStore(tmp_path / "store", print) as store:
        first = clock_of(Onnxruntime(), tmp_path, store).latency(body(), Pair(32, 16))
        clock = clock_of(Onnxruntime(), tmp_path, store)
        assert clock.latency(body(), Pair(32, 16)) == first
    assert clock.pace.us == first.pace_us > 0
