import time

import pytest

from toolchain.measure.latency import Latency
from toolchain.measure.pace import Pace, product_us
from toolchain.targets.contract import Clock
from toolchain.targets.engine import Identity

HERE = Identity("onnxruntime", "a processor", "1.0", "float32")


def paces(*found_us):
    """Return what looks at these paces one after the other, and then at the last one for ever."""
    left = list(found_us)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def sessions():
    """Return a session that counts how often it is run."""
    ran = []
    return ran, lambda: [float(ran.append(None) or len(ran))]


def latency(pace_us=None):
    return Latency((2.0, 2.2), 1.9, 2.3, Clock.HOST, 1, 0.1, 1, HERE, pace_us=pace_us)


def test_the_first_session_sets_the_pace():
    pace = Pace(look=paces(100.2, 100.0))
    ran, session = sessions()
    assert pace.given(session) == [1.0]
    assert (pace.us, pace.scaled, len(ran)) == (100.0, 0, 1)


def test_a_session_of_a_slower_processor_is_given_at_the_pace():
    pace = Pace(look=paces(100.0, 100.0, 105.0))
    pace.given(lambda: [1.0])
    assert pace.given(lambda: [2.1, 4.2]) == pytest.approx([2.0, 4.0])
    assert pace.scaled == 1


def test_a_session_during_which_the_pace_changed_is_repeated():
    pace = Pace(look=paces(100.0, 105.0, 100.0, 100.0))
    ran, session = sessions()
    assert pace.given(session) == [2.0]
    assert (len(ran), pace.scaled) == (2, 0)


def test_an_interrupted_product_makes_no_session_fast():
    pace = Pace(100.0, paces(900.0, 100.0, 900.0, 100.0, 900.0, 100.0))
    assert pace.given(lambda: [2.0]) == [2.0]


def test_the_pace_is_waited_for():
    pace = Pace(100.0, paces(105.0, 105.0, 100.2, 105.0))
    pace.wait()
    assert pace.look() == 105.0


def test_patience_ends():
    start = time.perf_counter()
    Pace(100.0, paces(105.0)).wait(0.05)
    assert time.perf_counter() - start >= 0.05


def test_a_latency_scales_with_the_pace_of_the_processor():
    slower = latency(100.0).at_pace(105.0)
    assert slower.samples_ms == pytest.approx((2.1, 2.31))
    assert (slower.low_ms, slower.high_ms, slower.pace_us) == pytest.approx((1.995, 2.415, 105.0))
    assert slower.half_width == pytest.approx(latency().half_width)


def test_a_latency_without_a_pace_stays_as_it_is():
    assert latency().at_pace(105.0) == latency()


def test_a_latency_keeps_its_pace_and_one_of_an_earlier_version_has_none():
    assert Latency.from_json(latency(100.0).to_json()) == latency(100.0)
    older = latency().to_json().replace(',"pace_us":null', "")
    assert "pace_us" not in older
    assert Latency.from_json(older) == latency()


def test_products_are_quick_and_take_some_time():
    start = time.perf_counter()
    shortest_us = product_us()
    assert 0 < shortest_us < (time.perf_counter() - start) * 1e6
