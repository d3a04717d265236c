from dataclasses import replace

import pytest
from oracle import graph
from planning import TWO_BRANCHES, problem_of, widths_of

from toolchain.errors import UsageError
from toolchain.strategies.hilp import Hilp


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 0.9])
def test_the_budget_is_met_by_what_was_timed(ratio):
    found = Hilp(loss_tolerance=8).search(problem_of(ratio=ratio))
    assert found.met
    assert found.best in found.trials
    assert found.best.comparison.high <= ratio


def test_every_group_is_cut_as_deep_as_the_tolerance_allows_and_timed():
    problem = problem_of(ratio=0.01)
    first, second, *_ = Hilp(loss_tolerance=14, max_builds=2).search(problem).trials
    for trial, name in ((first, "stem"), (second, "body")):
        width = widths_of(problem, trial)[name]
        assert problem.divergence(trial.plan) <= 14 < problem.divergence(problem.plan({name: width - 8}))


def test_a_step_starts_from_the_measured_winner():
    # The body is dearer by its loss, but the clock sees it alone: no cut of the stem can win.
    plain, starts = problem_of(ratio=0.4, weight={"stem": 0.1, "body": 1.0}, sees=("body",)), []

    def score(criterion, plan):
        starts.append((criterion, plan))
        return plain.score(criterion, plan)

    found = Hilp(loss_tolerance=8).search(replace(plain, score=score, criterion="taylor"))
    assert found.met
    assert [criterion for criterion, _ in starts] == ["taylor"] * len(starts)
    for _, plan in starts:
        assert plan in {trial.plan for trial in found.trials}
        assert {removal.group for removal in plan.removals} == {"body"}


def test_most_latency_per_divergence_wins():
    for cheap, dear in (("a1", "b1"), ("b1", "a1")):
        problem = problem_of(ratio=0.85, weight={cheap: 0.1, dear: 1.0}, model=graph(TWO_BRANCHES))
        widths = widths_of(problem, Hilp(loss_tolerance=8).search(problem).best)
        assert widths[cheap] < widths[dear] == widths["stem"] == 32


def test_a_branch_that_loses_little_is_removed_as_a_whole():
    weight = {"a1": 1e-3, "b1": 1.0, "stem": 10.0}
    problem = problem_of(ratio=0.55, weight=weight, model=graph(TWO_BRANCHES))
    assert widths_of(problem, Hilp(loss_tolerance=1).search(problem).best)["a1"] == 0
    kept = widths_of(problem, Hilp(loss_tolerance=1, blocks=False, max_builds=60).search(problem).best)
    assert kept["a1"] > 0


def test_no_more_engines_are_built_than_allowed_and_their_number_is_told():
    found = Hilp(loss_tolerance=1e-6, max_builds=5).search(problem_of(ratio=0.1))
    assert len(found.trials) <= 5
    assert f"{len(found.trials)} engines of at most 5 built" in found.notes[0]


def test_a_tolerance_that_nothing_passes_grows():
    found = Hilp(loss_tolerance=1e-6).search(problem_of(ratio=0.6))
    assert found.met
    assert float(found.notes[1].split()[-1]) > 1e-6


def test_the_last_cut_is_no_deeper_than_the_budget_needs():
    problem = problem_of(ratio=0.8)
    widths = widths_of(problem, Hilp(loss_tolerance=1e3).search(problem).best)
    (name,) = (name for name, width in widths.items() if width < 32)
    assert problem.attempt({name: widths[name] + 8}).comparison.ratio > 0.8


def test_without_samples_there_is_nothing_to_judge_by():
    problem = replace(problem_of(ratio=0.6), divergence=None)
    with pytest.raises(UsageError, match=r"^strategy hilp judges candidates on samples; add --data"):
        Hilp().search(problem)


def test_a_budget_out_of_reach_gives_the_fastest_and_says_so():
    found = Hilp().search(problem_of(ratio=0.001))
    assert not found.met
    assert found.best.comparison.ratio == min(trial.comparison.ratio for trial in found.trials)


def test_nothing_to_narrow_finds_nothing():
    found = Hilp().search(problem_of(ratio=0.5, width=4))
    assert (found.best, found.trials, found.met) == (None, (), False)


def test_the_search_is_deterministic():
    first, second = (Hilp(loss_tolerance=8).search(problem_of(ratio=0.5)).best.plan for _ in range(2))
    assert first == second
