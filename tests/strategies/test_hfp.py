from dataclasses import replace

import numpy as np
import pytest
from planning import problem_of, widths_of

from toolchain.graph.plan import Plan
from toolchain.strategies.hfp import Hfp


def recorded(problem, score=None):
    """Return the problem, and the plans after which gains were asked for."""
    plans: list[Plan] = []

    def recording(criterion, plan):
        plans.append(plan)
        return (score or problem.score)(criterion, plan)

    return replace(problem, score=recording), plans


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 0.9])
def test_the_budget_is_met_by_the_table_and_by_what_was_timed(ratio):
    problem = problem_of(ratio=ratio)
    found = Hfp().search(problem)
    assert found.met
    assert found.best.comparison.high <= ratio
    assert problem.latency.predict(found.best.plan.widths(problem.analysis)) <= ratio


def test_single_units_go_and_the_last_one_was_needed():
    # In blocks of one channel the table is the formula: it must count the input of the consumers too.
    problem = problem_of(ratio=0.6, multiple=1)
    best = Hfp().search(problem).best
    assert best.comparison.ratio <= 0.6
    last = max((problem.importance[item.group][p], item, p) for item in best.plan.removals for p in item.positions)
    _, removal, position = last
    kept = tuple(p for p in removal.positions if p != position)
    others = [replaced(item, kept) if item is removal else item for item in best.plan.removals]
    one_less = best.plan.model_copy(update={"removals": tuple(others)})
    assert problem.attempt_plan(one_less).comparison.ratio > 0.6


def replaced(removal, positions):
    return removal.model_copy(update={"positions": positions})


def test_a_table_without_consumers_would_have_cut_far_deeper():
    problem = problem_of(ratio=0.6, multiple=1)
    widths = Hfp().search(problem).best.plan.widths(problem.analysis)
    own = sum(
        problem.latency.block_ms(block, {name: widths[name] for name in block.output.groups})
        for block in problem.latency.blocks
    )
    assert own > 0.7


def test_the_units_of_least_gain_go_wherever_they_are():
    problem = problem_of(ratio=0.6, multiple=1)
    plan = Hfp().search(problem).best.plan
    gone = {item.group: list(item.positions) for item in plan.removals}
    removed = np.concatenate([problem.importance[name][positions] for name, positions in gone.items()])
    kept = np.concatenate([np.delete(problem.importance[name], gone[name]) for name in ("stem", "body")])
    assert removed.max() < kept.min()


def test_opti_cut_computes_gains_anew_in_rounds_that_shrink_towards_the_budget():
    problem, plans = recorded(problem_of(ratio=0.3, multiple=1))
    found = Hfp(shrink=0.5).search(problem)
    ratios = [1.0, *(problem.attempt_plan(plan).comparison.ratio for plan in plans), found.best.comparison.ratio]
    closed = -np.diff(ratios)
    assert len(plans) >= 4
    assert (closed[:-1] > closed[1:]).all()
    assert f"{len(plans) + 1} rounds of Opti-Cut, gains computed anew in each" in found.notes


def test_gains_computed_anew_decide_what_goes_next():
    plain = problem_of(ratio=0.5, multiple=1, weight={"stem": 1e-3})

    def stem_becomes_precious(criterion, plan):
        scores = dict(plain.score(criterion, plan))
        return {**scores, "stem": np.where(np.isfinite(scores["stem"]), 1e6, -np.inf)}

    unchanged = widths_of(plain, Hfp().search(plain).best)
    problem, _ = recorded(plain, stem_becomes_precious)
    changed = widths_of(problem, Hfp().search(problem).best)
    assert unchanged["body"] == 32
    assert changed["stem"] > unchanged["stem"]
    assert changed["body"] < 32


def test_widths_end_at_steps_and_the_units_that_gain_nothing_by_going_stay():
    problem = problem_of(ratio=0.5)
    found = Hfp().search(problem)
    for removal in found.best.plan.removals:
        importance = problem.importance[removal.group]
        assert len(removal.positions) % 8 == 0
        assert importance[list(removal.positions)].max() <= np.delete(importance, removal.positions).min()


def test_the_table_is_corrected_where_the_engine_says_otherwise():
    found = Hfp().search(problem_of(ratio=0.6, sees=("body",)))  # the table believes in the stem, the clock does not
    assert found.met
    assert len(found.trials) > 1


def test_a_group_keeps_its_last_unit():
    problem = problem_of(ratio=0.001, multiple=1)
    found = Hfp().search(problem)
    assert not found.met
    assert set(widths_of(problem, found.best).values()) == {1}


def test_a_budget_out_of_reach_gives_the_fastest_and_says_so():
    found = Hfp().search(problem_of(ratio=0.001))
    assert not found.met
    assert found.best.comparison.ratio == min(trial.comparison.ratio for trial in found.trials)


def test_nothing_to_narrow_finds_nothing():
    found = Hfp().search(problem_of(ratio=0.5, width=8))
    assert (found.best, found.trials, found.met) == (None, (), False)


def test_the_search_is_deterministic():
    first, second = (Hfp().search(problem_of(ratio=0.5)).best.plan for _ in range(2))
    assert first == second
