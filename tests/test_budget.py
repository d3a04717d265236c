import pytest

from toolchain.budget import Budget, parse_budget, parse_budgets
from toolchain.errors import UsageError


@pytest.mark.parametrize(
    ("text", "budget"),
    [("60%", Budget(ratio=0.6)), ("0.6", Budget(ratio=0.6)), ("4.5ms", Budget(latency_ms=4.5))],
)
def test_a_latency_is_a_share_or_a_time(text, budget):
    assert parse_budget(text) == budget


def test_multiply_accumulates_and_parameters_can_be_limited_with_or_without_a_latency():
    assert parse_budget("", macs="50%") == Budget(macs=0.5)
    assert parse_budget("60%", macs="50%", parameters="0.4") == Budget(ratio=0.6, macs=0.5, parameters=0.4)
    assert str(parse_budget("60%", macs="50%")) == "60% and 50% of the MACs"


def test_nothing_given_is_no_budget():
    assert parse_budget("") is None


def test_without_a_latency_the_engine_must_not_become_slower():
    assert Budget(macs=0.5).ratio_of(3.0) == 1.0
    assert Budget(latency_ms=1.5).ratio_of(3.0) == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", "--budget fast: not a budget"),
        ("0ms", "a time of 0 cannot be met"),
        ("100%", "100 % of the original latency is not a budget"),
        ("1.5", "150 % of the original latency is not a budget"),
    ],
)
def test_what_is_no_latency_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_budget(text)


@pytest.mark.parametrize("text", ["4ms", "half", "0%", "120%"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UsageError, match="--macs"):
        parse_budget("", macs=text)


def test_several_budgets_share_their_unit():
    assert parse_budgets("80,70, 60%") == [Budget(ratio=0.8), Budget(ratio=0.7), Budget(ratio=0.6)]
    assert parse_budgets("4,3ms") == [Budget(latency_ms=4.0), Budget(latency_ms=3.0)]


def test_a_budget_given_twice_is_refused():
    with pytest.raises(UsageError, match="given twice"):
        parse_budgets("80,80%")
