from dataclasses import replace

import numpy as np
import pytest
from oracle import graph
from planning import TWO_BRANCHES, problem_of, widths_of
from small import TILES

from toolchain.latency.measured_table import measured_table
from toolchain.strategies.locp import Locp


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 0.9])
def test_the_budget_is_met_by_what_was_timed(ratio):
    found = Locp().search(problem_of(ratio=ratio))
    assert found.met
    assert found.best in found.trials
    assert found.best.comparison.high <= ratio


def test_only_steps_are_chosen():
    problem = problem_of(ratio=0.5, sees=("body",))
    for trial in Locp().search(problem).trials:
        for name, width in widths_of(problem, trial).items():
            assert width in (32, *problem.latency.steps(name))


def test_the_second_stage_changes_the_decision():
    # The stem's own layer is cheap (3 channels in), the body that reads it is not: only stage 2 sees that.
    weight = {"stem": 0.9, "body": 1.0}
    both = problem_of(ratio=0.8, weight=weight, multiple=1)
    second = widths_of(both, Locp().search(both).best)
    first = widths_of(both, Locp(stage_two=False).search(both).best)
    assert second["stem"] < 32
    assert first == {"stem": 32, "body": first["body"]}
    loss = {
        name: sum(both.loss(group, width) for group, width in w.items()) for name, w in (("1", first), ("2", second))
    }
    assert loss["2"] < loss["1"]


def test_the_first_stage_shortens_the_list():
    problem = problem_of(ratio=0.8, weight={"stem": 0.9, "body": 1.0}, multiple=1)
    assert Locp(shortlist=1).search(problem).best.plan == Locp(stage_two=False).search(problem).best.plan


def test_steps_beyond_the_goal_are_taken_back():
    problem = problem_of(ratio=0.75, weight={"stem": 1e-6, "body": 1.0}, multiple=1)
    widths = widths_of(problem, Locp().search(problem).best)
    wider = problem.attempt({**widths, "stem": widths["stem"] + 1})
    assert wider.comparison.ratio > 0.75


def test_the_table_is_corrected_where_the_engine_says_otherwise():
    found = Locp().search(problem_of(ratio=0.6, sees=("body",)))
    assert found.met
    assert len(found.trials) > 1


def test_shared_latencies_save_timings_and_both_are_counted(tmp_path):
    # The second branch repeats the layers of the first: what one has cost, the other does not cost again.
    problem = problem_of(ratio=0.6, model=graph(TWO_BRANCHES))
    tables = []

    def make_table():
        tables.append(measured_table(problem.analysis, TILES, tmp_path, np.random.default_rng(0)))
        return tables[-1]

    found = Locp().search(replace(problem, make_latency=make_table))
    (table,) = tables
    assert found.met
    assert 2 * table.shared >= table.timings > 0
    assert f"{table.timings} layer latencies timed, {table.shared} shared" in found.notes


def test_a_budget_out_of_reach_gives_the_fastest_and_says_so():
    found = Locp().search(problem_of(ratio=0.001))
    assert not found.met
    assert found.best.comparison.ratio == min(trial.comparison.ratio for trial in found.trials)


def test_nothing_to_narrow_finds_nothing():
    found = Locp().search(problem_of(ratio=0.5, width=8))
    assert (found.best, found.trials, found.met) == (None, (), False)


def test_the_search_is_deterministic():
    first, second = (Locp().search(problem_of(ratio=0.5)).best.plan for _ in range(2))
    assert first == second
