from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from oracle import RULES, analysed
from planning import problem_of, widths_of
from structures import Classifier, Inception, OptionAResidual, export

from toolchain.latency.stair_macs import StairMacs
from toolchain.strategies.contract import Limits
from toolchain.strategies.exact.descent import descend
from toolchain.strategies.exact.instance import Model
from toolchain.strategies.exact.losses import Losses
from toolchain.strategies.exact.milp import solve
from toolchain.strategies.joint import Joint, candidate_widths


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 0.9])
def test_the_budget_is_met_by_what_was_timed(ratio):
    found = Joint().search(problem_of(ratio=ratio))
    assert found.met
    assert found.best in found.trials
    assert found.best.comparison.high <= ratio


def test_the_group_that_loses_least_goes_first():
    for cheap, dear in (("stem", "body"), ("body", "stem")):
        problem = problem_of(ratio=0.8, weight={cheap: 1e-3, dear: 1.0})
        widths = widths_of(problem, Joint(probes=0).search(problem).best)
        assert widths[cheap] < widths[dear]


def test_only_steps_are_chosen():
    problem = problem_of(ratio=0.5)
    for trial in Joint().search(problem).trials:
        assert all(width in (32, 24, 16, 8) for width in widths_of(problem, trial).values())


def test_measured_losses_overrule_the_criterion():
    problem = problem_of(ratio=0.7, weight={"stem": 1e-3, "body": 1.0})
    by_criterion = widths_of(problem, Joint(probes=0).search(problem).best)
    assert by_criterion["body"] == 32

    def divergence(plan, *, temperature):
        assert temperature > 1  # sure answers tell little
        gone = {item.group: len(item.positions) for item in plan.removals}
        return 100.0 * gone.get("stem", 0) + gone.get("body", 0)

    measured = widths_of(problem, Joint(probes=4).search(replace(problem, divergence=divergence)).best)
    assert measured["stem"] == 32
    assert measured["body"] < 32


def test_no_more_losses_are_measured_than_allowed():
    problem, plans = problem_of(ratio=0.5), []

    def divergence(plan, *, temperature):
        del temperature
        plans.append(plan)
        return float(plan.removed_count)

    Joint(probes=3, judged=False).search(replace(problem, divergence=divergence))
    assert 0 < len(plans) <= 3


def test_a_wrong_table_is_corrected_by_the_engine():
    # The clock sees the body alone, though by its operations the stem would be the better bargain.
    problem = problem_of(ratio=0.7, weight={"stem": 1e-3, "body": 1.0}, sees=("body",))
    found = Joint(probes=0).search(problem)
    assert found.met
    assert widths_of(problem, found.best)["body"] < 32


def test_what_is_left_of_the_budget_is_spent():
    problem = problem_of(ratio=0.6)
    found = Joint().search(problem)
    assert found.best.comparison.ratio == max(t.comparison.ratio for t in found.trials if t.met)
    assert any("regrown" in note for note in found.notes)


def test_rounds_score_what_is_left_anew():
    problem, asked = problem_of(ratio=0.5), []

    def score(criterion, plan):
        asked.append((criterion, plan.removed_count))
        return problem.score(criterion, plan)

    found = Joint(rounds=3).search(replace(problem, score=score))
    assert found.met
    assert len(asked) == 2
    assert 0 < asked[0][1] <= asked[1][1] <= found.best.plan.removed_count
    assert all(criterion == problem.criterion for criterion, _ in asked)


def test_limits_on_counts_are_kept():
    problem = problem_of(ratio=0.9)
    total = problem.cost_model.total
    for limits in (Limits(0.9, macs=total.macs // 2), Limits(0.9, parameters=total.parameters // 2)):
        found = Joint().search(replace(problem, limits=limits))
        assert found.met
        assert found.best.cost.macs <= (limits.macs or total.macs)
        assert found.best.cost.parameters <= (limits.parameters or total.parameters)


def test_a_budget_out_of_reach_gives_the_fastest_and_says_so():
    found = Joint().search(problem_of(ratio=0.001))
    assert not found.met
    assert found.best.comparison.ratio == min(trial.comparison.ratio for trial in found.trials)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_engines_are_built_than_allowed(most):
    assert 0 < len(Joint(max_builds=most, tolerance=0.0).search(problem_of(ratio=0.5)).trials) <= most


def test_nothing_to_narrow_finds_nothing():
    found = Joint().search(problem_of(ratio=0.5, width=4))
    assert (found.best, found.trials, found.met) == (None, (), False)


def test_the_search_is_deterministic():
    first, second = (Joint(rounds=2).search(problem_of(ratio=0.5)).best.plan for _ in range(2))
    assert first == second


@pytest.mark.parametrize("options", [{"steps": False}, {"pairs": False}, {"blocks": False}, {"regrow": False}])
def test_every_ingredient_can_be_left_out(options):
    found = Joint(**options).search(problem_of(ratio=0.5))
    assert found.met


def test_the_programmes_latency_is_the_tables():
    problem = problem_of(ratio=0.5)
    latency = problem.latency
    candidates = {"stem": (32, 16, 8), "body": (32, 24, 8)}
    model = Model.of(problem, latency.blocks, candidates)
    losses = Losses.of(problem, candidates, problem.importance).table()
    for ratio in np.linspace(0.2, 0.9, 8):
        solution = solve(model.instance(latency, lambda name, width: losses[name, width], ratio), gap=1e-9)
        every = [{"stem": stem, "body": body} for stem in candidates["stem"] for body in candidates["body"]]
        within = [widths for widths in every if latency.predict(widths) <= ratio]
        best = min(within, key=lambda widths: sum(losses[item] for item in widths.items()))
        assert solution.widths == best


@pytest.mark.parametrize(
    "module",
    [Classifier(OptionAResidual(8), 8, 16), Classifier(Inception(8), 8, 15)],
    ids=["padded shortcut", "concatenation"],
)
def test_it_is_the_tables_where_layers_read_several_groups_too(module):
    analysis = analysed(export(module))
    latency = StairMacs(analysis, RULES, 1, 1.0)
    groups = analysis.prunable_groups
    rng = np.random.default_rng(0)
    importance = {group.name: rng.random(group.width) for group in groups}
    problem = replace(problem_of(0.5), analysis=analysis, importance=importance, branches={})
    candidates = {group.name: tuple(dict.fromkeys((group.width, group.width // 2, 1))) for group in groups}
    model = Model.of(problem, latency.blocks, candidates)
    assert model.totals
    losses = Losses.of(problem, candidates, importance).table()
    every = [dict(zip(candidates, widths, strict=True)) for widths in product(*candidates.values())]
    for ratio in (0.3, 0.5, 0.8):
        solution = solve(model.instance(latency, lambda name, width: losses[name, width], ratio), gap=1e-9)
        within = [sum(losses[item] for item in widths.items()) for widths in every if latency.predict(widths) <= ratio]
        assert latency.predict(solution.widths) <= ratio + 1e-6
        assert solution.loss == pytest.approx(min(within), rel=1e-6)


def test_groups_that_go_together_lose_their_branch_once():
    both = {"stem": ("stem", "body"), "body": ("body", "stem")}
    problem = replace(problem_of(0.5, weight={"stem": 0.01, "body": 1.0}), branches=both)
    candidates = {"stem": (32, 16, 0), "body": (32, 16, 0)}
    losses = Losses.of(problem, candidates, problem.importance).table()
    assert losses["stem", 0] == pytest.approx(problem.loss("stem", 0))
    assert losses["body", 0] == 0.0


def test_losses_never_fall_as_a_group_gets_narrower():
    problem = problem_of(0.5)
    candidates = {"stem": (32, 24, 16, 8), "body": (32, 16)}
    losses = Losses.of(problem, candidates, problem.importance)
    losses = losses.with_measured(("stem", 24), 5.0).with_measured(("stem", 8), 1.0)
    table = losses.table()
    assert [table["stem", width] for width in (32, 24)] == pytest.approx([0.0, 5.0])
    assert table["stem", 24] <= table["stem", 16] <= table["stem", 8]
    assert table["body", 16] > 0


def test_the_choice_that_diverges_least_is_built_not_the_one_of_least_predicted_loss():
    plain = problem_of(ratio=0.5, multiple=4)
    exact = Joint(probes=0, judged=False, regrow=False).search(plain).best.plan

    def divergence(plan, *, temperature):
        del temperature
        return 1.0 if plan == exact else 0.5

    problem = replace(plain, divergence=divergence, trials=[])
    judged = Joint(probes=0, regrow=False).search(problem)
    assert judged.met
    assert judged.best.plan != exact
    assert Joint(probes=0, judged=False, regrow=False).search(replace(problem, trials=[])).best.plan == exact


def test_where_measured_losses_mislead_the_criterions_own_steps_are_looked_at_too():
    plain = problem_of(ratio=0.55, multiple=4)
    candidates = candidate_widths(Joint(), plain)
    own = Losses.of(plain, candidates, plain.importance).table()
    stepwise = plain.plan(descend(plain, candidates, own, plain.latency, 0.55))

    def divergence(plan, *, temperature):
        del temperature
        return 0.1 if plan == stepwise else float(plan.removed_count)

    found = Joint(probes=4, regrow=False).search(replace(plain, divergence=divergence, trials=[]))
    assert stepwise in [trial.plan for trial in found.trials]
