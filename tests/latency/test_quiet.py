import pytest

from toolchain.latency.quiet import MAX_SESSIONS, quiet_ms, quiet_sessions


def test_disturbed_runs_do_not_count():
    assert quiet_ms([1.0, 1.0, 9.0, 1.0, 50.0, 1.0]) == pytest.approx(1.0)


def test_ticks_of_the_clock_are_averaged():
    assert quiet_ms([0.025, 0.026, 0.026, 0.025, 0.09, 0.09, 0.09, 0.09]) == pytest.approx(0.0255)


def test_a_single_sample_is_itself():
    assert quiet_ms([2.0]) == 2.0


def test_sessions_are_opened_until_the_two_fastest_agree():
    latencies = iter([5.0, 1.2, 1.0, 1.01, 7.0])
    assert quiet_sessions(lambda: [next(latencies)]) == [[1.0], [1.01]]
    assert next(latencies) == 7.0


def test_as_many_sessions_are_returned_as_were_wanted_at_least():
    latencies = iter([1.3, 1.0, 5.0, 1.2, 1.01])
    assert quiet_sessions(lambda: [next(latencies)], 4) == [[1.0], [1.01], [1.2], [1.3]]


def test_two_sessions_do_where_nobody_disturbs():
    opened = []
    quiet_sessions(lambda: opened.append(1) or [1.0])
    assert len(opened) == 2


def test_a_machine_that_never_comes_to_rest_is_given_up():
    latencies = iter(1.1**number for number in range(MAX_SESSIONS, 0, -1))
    assert len(quiet_sessions(lambda: [next(latencies)])) == 2
    assert list(latencies) == []
