from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from oracle import RULES, graph
from planning import TWO_BRANCHES, problem_of, widths_of

from toolchain.latency.stair_macs import StairMacs
from toolchain.strategies.halp import Halp


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 0.9])
def test_the_budget_is_met_by_what_was_timed(ratio):
    found = Halp().search(problem_of(ratio=ratio))
    assert found.met
    assert found.best in found.trials
    assert found.best.comparison.high <= ratio


def test_the_most_important_units_of_a_group_stay():
    problem = problem_of(ratio=0.5)
    for removal in Halp().search(problem).best.plan.removals:
        importance = problem.importance[removal.group]
        assert importance[list(removal.positions)].max() <= np.delete(importance, removal.positions).min()


def test_one_knapsack_keeps_the_most_that_fits():
    # In one step, layers cost what their outputs take at full inputs: small enough to try every choice.
    problem = problem_of(ratio=0.6, multiple=4)
    latency, widths = problem.latency, range(4, 33, 4)
    goal = 0.6 * latency.predict({})

    def own(stem, body):
        return sum(
            latency.block_ms(b, {n: {"stem": stem, "body": body}[n] for n in b.output.groups}) for b in latency.blocks
        )

    def kept(stem, body):
        scores = {name: np.sort(problem.importance[name])[::-1] for name in ("stem", "body")}
        return float(scores["stem"][:stem].sum() + scores["body"][:body].sum())

    best = max((pair for pair in product(widths, widths) if own(*pair) <= goal), key=lambda pair: kept(*pair))
    found = Halp(shrink=1.0, max_trials=1).search(problem)
    assert tuple(widths_of(problem, found.best).values()) == best


class CostOfInputs(StairMacs):
    """Layers take as long for few outputs as for all: only what they read makes them faster."""

    def block_ms(self, block, widths):
        whole = {name: full for name, _, full in block.output.parts if name not in block.input.groups}
        return super().block_ms(block, {**widths, **whole})


def test_readers_count_where_layers_that_write_save_nothing():
    problem = problem_of(ratio=0.6)
    problem = replace(problem, make_latency=lambda: CostOfInputs(problem.analysis, RULES, 8, 1.0))
    widths = widths_of(problem, Halp().search(problem).trials[0])
    assert max(widths.values()) > 8


def test_the_group_of_little_importance_is_left_behind():
    for cheap, dear in (("a1", "b1"), ("b1", "a1")):
        problem = problem_of(ratio=0.8, weight={cheap: 1e-6, dear: 1.0}, model=graph(TWO_BRANCHES))
        widths = widths_of(problem, Halp().search(problem).best)
        assert widths[cheap] < widths[dear] == 32


def test_only_steps_are_chosen():
    problem = problem_of(ratio=0.5, sees=("body",))
    for trial in Halp().search(problem).trials:
        assert set(widths_of(problem, trial).values()) <= {8, 16, 24, 32}


def test_the_table_is_corrected_where_the_engine_says_otherwise():
    found = Halp().search(problem_of(ratio=0.6, sees=("stem", "body")))
    assert found.met
    assert len(found.trials) > 1


def test_a_budget_out_of_reach_gives_the_fastest_and_says_so():
    found = Halp().search(problem_of(ratio=0.001))
    assert not found.met
    assert found.best.comparison.ratio == min(trial.comparison.ratio for trial in found.trials)


def test_nothing_to_narrow_finds_nothing():
    found = Halp().search(problem_of(ratio=0.5, width=8))
    assert (found.best, found.trials, found.met) == (None, (), False)


def test_the_search_is_deterministic():
    first, second = (Halp().search(problem_of(ratio=0.5)).best.plan for _ in range(2))
    assert first == second
