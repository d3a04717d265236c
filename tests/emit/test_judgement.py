import pytest
from planning import comparison

from toolchain.budget import parse_budget
from toolchain.emit.judgement import judge_counts, judge_ratio
from toolchain.errors import ExitCode
from toolchain.graph.cost import Cost


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"text": "60%"}, "58.0 % of the original latency for a budget of 60%"),
        ({"text": "4.5ms"}, "58.0 % of the original latency for a budget of 4.5ms"),
        ({"text": "60%", "macs": "50%"}, "58.0 % of the original latency for a budget of 60%"),
        ({"text": "", "parameters": "50%"}, "58.0 % of the original latency"),
    ],
)
def test_a_latency_is_held_against_what_was_asked_of_latency_alone(asked, said):
    judged = judge_ratio(comparison(0.58), 1.0, parse_budget(**asked).latency_text)
    assert judged.message == said
    assert judged.exit_code is ExitCode.MET


def test_counts_are_held_against_what_was_asked_of_counts():
    budget = parse_budget("60%", macs="50%")
    judged = judge_counts(Cost(100, 100), Cost(80, 40), budget)
    assert (judged.exit_code, judged.message) == (ExitCode.MET, "40.0 % of the MACs for 50 %")
    assert judge_counts(Cost(100, 100), Cost(80, 60), budget).exit_code is ExitCode.BUDGET_MISSED
    assert judge_counts(Cost(100, 100), Cost(80, 60), parse_budget("60%")) is None
