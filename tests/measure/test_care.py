import pytest
from planning import comparison

from toolchain.measure.care import CLOSE, Care, held_against


class Clock:
    """Answers with one comparison after the other, and keeps the protocols it was asked with."""

    def __init__(self, *answers):
        self.answers, self.protocols = list(answers), []

    def __call__(self, protocol):
        self.protocols.append(protocol)
        return self.answers.pop(0)


def test_what_lies_on_the_limit_is_timed_again_closer_and_the_second_answer_stands():
    clock = Clock(comparison(0.6, spread=0.005), comparison(0.598, spread=0.001))
    assert held_against(0.602, Care.FINAL, clock).ratio == 0.598
    assert [protocol.half_width for protocol in clock.protocols] == [0.01, CLOSE]
    assert clock.protocols[1].max_seconds > clock.protocols[0].max_seconds


@pytest.mark.parametrize("limit", [None, 0.59, 0.605, 0.7])
def test_what_is_clearly_on_one_side_is_timed_once(limit):
    clock = Clock(comparison(0.6, spread=0.005))
    assert held_against(limit, Care.DECIDING, clock).ratio == 0.6
    assert clock.protocols == [Care.DECIDING.value]


def test_no_care_is_timed_under_the_key_of_another():
    protocols = [care.value for care in Care] + [care.closer for care in Care]
    assert len({repr(protocol) for protocol in protocols}) == len(protocols)
