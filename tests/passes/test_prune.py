from dataclasses import replace

import pytest
from oracle import execute, graph
from small import context_of, feeds_of, network, samples_of

from passes.prune import Prune
from toolchain.errors import ModelError, UsageError
from toolchain.graph.hashing import model_sha256
from toolchain.graph.oracle import compare_with_masked


def test_pruned_equals_masked_and_meets_the_budget(tmp_path):
    model = network()
    result = Prune()(model, context_of(model, tmp_path, budget=0.5))
    assert result.modified
    assert result.exact
    pruning = result.pruning
    assert pruning.found.best.comparison.ratio <= 0.5
    verdict = compare_with_masked(pruning.source, result.model, pruning.kept, feeds_of(model), execute)
    assert verdict.equal
    assert verdict.powered


def test_what_was_decided_is_told(tmp_path):
    model = network()
    result = Prune()(model, context_of(model, tmp_path, budget=0.5))
    removed = sum(before - after for _, before, after in result.pruning.widths)
    assert result.pruning.source is model
    assert result.pruning.plan.model_sha256 == model_sha256(model)
    assert result.pruning.plan.removed_count == removed > 0
    assert {name for name, _, _ in result.pruning.widths} == {"stem", "body"}
    assert result.pruning.frozen == (("scores", 4, "graph output 'scores': its size is part of the interface"),)
    trials = len(result.pruning.found.trials)
    assert result.notes[:3] == ("criterion l2", f"{trials} engines built and timed", f"{removed} units removed")


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    model = network()
    first, second = (Prune()(model, context_of(model, tmp_path)).model for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_samples_choose_the_criterion(tmp_path):
    model = network(batch=1)
    with_samples = context_of(model, tmp_path, samples=samples_of(model, size=1))
    assert Prune()(model, with_samples).pruning.criterion == "wanda"
    assert Prune(criterion="l2")(model, with_samples).pruning.criterion == "l2"


def test_a_budget_that_cannot_be_met_still_yields_the_fastest(tmp_path):
    model = network()
    found = Prune()(model, context_of(model, tmp_path, budget=0.01)).pruning.found
    assert not found.met
    assert found.best.comparison.ratio == min(trial.comparison.ratio for trial in found.trials)


def test_options_of_the_strategy_arrive(tmp_path):
    model = network()
    step = Prune(strategy="uniform", strategy_options="max_trials=2")
    assert len(step(model, context_of(model, tmp_path)).pruning.found.trials) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "magic"}, r"^there is no strategy 'magic'; strategies are .*greedy.*uniform"),
        ({"criterion": "magic"}, r"^there is no criterion 'magic'; criteria are auto, .*l2.*wanda"),
        ({"strategy_options": "max_builds"}, r"^strategy joint: 'max_builds' is not an option; write option=value"),
        ({"strategy_options": "size=3"}, r"^strategy joint has no option 'size'; options are rounds, "),
        ({"strategy_options": "max_builds=few"}, r"^strategy joint: max_builds=few; input should be a valid integer"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_timed(options, message):
    with pytest.raises(UsageError, match=message):
        Prune(**options)


def test_a_criterion_without_its_samples_is_refused(tmp_path):
    model = network()
    with pytest.raises(UsageError, match=r"^criterion wanda needs samples; add --data, or use --criterion l2$"):
        Prune(criterion="wanda")(model, context_of(model, tmp_path))


def test_no_budget_is_refused(tmp_path):
    model = network()
    with pytest.raises(UsageError, match=r"^pass prune needs a budget; add --budget 60%$"):
        Prune()(model, context_of(model, tmp_path, budget=None))


def test_a_model_with_nothing_to_prune_is_refused_with_the_reason(tmp_path):
    model = graph("net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,3,1,1] w> { y = Conv(x, w) }")
    with pytest.raises(ModelError, match=r"^nothing in this model can be pruned \(graph output 'y'.*prunec inspect"):
        Prune()(model, context_of(model, tmp_path))


def test_groups_too_narrow_for_the_target_are_left_alone(tmp_path):
    model = network(width=4)
    result = Prune()(model, context_of(model, tmp_path))
    assert not result.modified
    assert result.model is model
    assert result.notes == ("no width of any group can be narrowed for this target",)


def test_a_pruned_model_can_be_pruned_again(tmp_path):
    model = network()
    context = context_of(model, tmp_path, budget=0.6)
    once = Prune()(model, context)
    twice = Prune()(once.model, replace(context_of(model, tmp_path, budget=0.4), cut=once.pruning))
    assert twice.pruning.source is once.model
    verdict = compare_with_masked(once.model, twice.model, twice.pruning.kept, feeds_of(model), execute)
    assert verdict.equal
