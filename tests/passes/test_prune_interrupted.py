from dataclasses import replace

import pytest
from small import Silent, context_of, network

from passes.prune import Prune
from passes.rematch import Rematch
from toolchain.errors import Interrupted
from toolchain.graph.cost import Cost
from toolchain.measure.care import Care
from toolchain.pipeline.record import Status
from toolchain.pipeline.run import Pipeline


class InterruptedTimer:
    """Times like another, and is interrupted at the n-th comparison."""

    def __init__(self, timer, at):
        self.timer, self.left = timer, at

    @property
    def baseline_ms(self):
        return self.timer.baseline_ms

    def compare(self, model, care=Care.QUICK, limit=None):
        self.left -= 1
        if self.left == 0:
            raise Interrupted
        return self.timer.compare(model, care, limit)


@pytest.fixture
def model():
    return network()


def interrupted_at(model, tmp_path, at):
    context = context_of(model, tmp_path, budget=0.5)
    return replace(context, timer=InterruptedTimer(context.timer, at))


def test_the_best_trial_so_far_is_what_an_interrupted_search_leaves(model, tmp_path):
    result = Prune(strategy="uniform")(model, interrupted_at(model, tmp_path, 3))
    assert result.interrupted
    trials = result.pruning.found.trials
    assert len(trials) in (1, 2, 3)
    assert result.pruning.plan in [trial.plan for trial in trials]


def test_before_the_first_trial_there_is_nothing_to_leave(model, tmp_path):
    with pytest.raises(Interrupted):
        Prune(strategy="uniform")(model, interrupted_at(model, tmp_path, 1))


def test_no_pass_runs_after_an_interruption(model, tmp_path):
    records = []
    pipeline = Pipeline([Prune(strategy="uniform"), Rematch()], [], lambda _: Cost(1, 1), None, records.append)
    outcome = pipeline.run(model, interrupted_at(model, tmp_path, 3))
    assert outcome.interrupted
    assert [record.name for record in records] == ["original", "prune"]
    assert records[-1].status is Status.KEPT
    assert records[-1].comparison is not None
    assert outcome.model is not model


class InterruptedReporter(Silent):
    """Is interrupted while it says that the repair begins."""

    def progress(self, text):
        if text == "pass rematch":
            raise Interrupted


def test_an_interruption_between_two_passes_leaves_what_was_pruned(model, tmp_path):
    records = []
    pipeline = Pipeline([Prune(strategy="uniform"), Rematch()], [], lambda _: Cost(1, 1), None, records.append)
    outcome = pipeline.run(model, replace(context_of(model, tmp_path, budget=0.5), reporter=InterruptedReporter()))
    assert outcome.interrupted
    assert outcome.pruning is not None
    assert [record.name for record in records] == ["original", "prune"]
