import pytest
from oracle import graph
from planning import problem_of

from toolchain.strategies.settle import Prediction, best_of, expected_error, settle, touched_ms

RESIDUAL = """net (float[1,3,8,8] x) => (float[1,4,8,8] y) <
    float[32,3,3,3] stem_weight, float[32,32,3,3] inner_weight, float[32,32,3,3] outer_weight,
    float[16,32,1,1] left_weight, float[24,32,1,1] right_weight, float[4,40,1,1] y_weight
> {
    stem = Conv<pads=[1,1,1,1]>(x, stem_weight)
    inner = Conv<pads=[1,1,1,1]>(stem, inner_weight)
    outer = Conv<pads=[1,1,1,1]>(inner, outer_weight)
    sum = Add(stem, outer)
    left = Conv(sum, left_weight)
    right = Conv(sum, right_weight)
    both = Concat<axis=1>(left, right)
    y = Conv(both, y_weight)
}"""


def narrowed(problem, widths):
    return lambda *_: problem.plan(widths)


def test_an_engine_slower_than_the_original_is_never_the_best():
    problem = problem_of(ratio=0.5, sees=("body",))
    trial = problem.attempt({"stem": 8})  # the clock sees the body alone: nothing is saved
    assert trial.comparison.ratio == 1
    assert best_of([trial]) is None


def test_the_slowest_within_the_budget_is_the_best():
    problem = problem_of(ratio=0.8)
    trials = [problem.attempt({"body": width}) for width in (8, 24, 16)]
    assert best_of(trials) is trials[1]


def test_without_any_within_the_budget_the_fastest_is_the_best():
    problem = problem_of(ratio=0.01)
    trials = [problem.attempt({"body": width}) for width in (24, 8, 16)]
    assert best_of(trials) is trials[1]


def test_the_same_plan_is_not_built_twice():
    problem = problem_of(ratio=0.1)
    found = settle(problem, narrowed(problem, {"body": 24}), max_trials=9, tolerance=0.01)
    assert len(found.trials) == 1
    assert not found.met


def test_the_goal_follows_what_was_measured():
    problem, goals = problem_of(ratio=0.6, sees=("body",)), []

    def propose(latency, goal):
        goals.append((goal, latency.predict({"body": 24})))
        return problem.plan({"body": 24} if len(goals) == 1 else {"body": 16})

    found = settle(problem, propose, max_trials=9, tolerance=0.2)
    assert found.met
    assert [trial.comparison.ratio for trial in found.trials] == [0.75, 0.5]
    goal, corrected = goals[1]
    assert corrected == pytest.approx(0.75)  # the corrected table knows the first trial,
    assert goal == pytest.approx(0.6 + (goals[0][1] - 0.75) / 2)  # and how far it was off: 77.1/75
    assert found.notes == ("predicted/measured latency, % of the original: 77.1/75.0, 50.0/50.0",)


def test_errors_of_one_sign_are_expected_to_go_on():
    assert expected_error([]) == 0
    wrong = [Prediction(0.50, 0.52), Prediction(0.49, 0.50)]
    assert expected_error(wrong) == pytest.approx((0.02 + 0.01) / 3)
    assert expected_error([*wrong, Prediction(0.50, 0.47)]) == pytest.approx(0)


@pytest.mark.parametrize(("group", "width"), [("stem", 8), ("inner", 16), ("left", 8), ("right", 8)])
def test_what_a_group_touches_is_all_that_its_width_changes(group, width):
    latency = problem_of(ratio=0.5, model=graph(RESIDUAL)).latency
    before = {"inner": 24, "right": 16}  # members of the Add and the Concat at widths of their own
    after = {**before, group: width}
    saved = touched_ms(latency, group, before) - touched_ms(latency, group, after)
    assert saved == pytest.approx(latency.predict(before) - latency.predict(after), rel=1e-9)
