from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
from oracle import RULES, analysed, execute
from small import context_of, feeds_of, network, parameters, timer_of

from passes.fold_constants import FoldConstants
from passes.prune import Prune
from passes.rematch import Rematch
from toolchain.data.metric import Score
from toolchain.errors import PrunecError, UsageError
from toolchain.graph.cost import CostModel
from toolchain.graph.oracle import relative_error
from toolchain.measure.journal import Journal
from toolchain.pipeline.contract import Pass, PassResult
from toolchain.pipeline.observers import Dump, Measure, Observer, Verify
from toolchain.pipeline.record import Status
from toolchain.pipeline.run import Pipeline


@dataclass(frozen=True)
class Scale(Pass):
    """Scales the head's weight, which changes what the network computes."""

    factor: float = 1.1
    exact: bool = True

    def run(self, model, _context):
        result = onnx.ModelProto()
        result.CopyFrom(model)
        for tensor in result.graph.initializer:
            if tensor.name == "head_weight":
                tensor.raw_data = (parameters(model)["head_weight"] * np.float32(self.factor)).tobytes()
        return PassResult(result, True, exact=self.exact)


@dataclass(frozen=True)
class Detour(Pass):
    """Puts an identity convolution behind the stem: correct, and slower."""

    def run(self, model, _context):
        result = onnx.ModelProto()
        result.CopyFrom(model)
        eye = np.eye(32, dtype=np.float32).reshape(32, 32, 1, 1)
        result.graph.initializer.append(onnx.numpy_helper.from_array(eye, "eye"))
        result.graph.node[1].input[0] = "detour"
        result.graph.node.insert(1, onnx.helper.make_node("Conv", ["stem", "eye"], ["detour"]))
        return PassResult(result, True)


@dataclass(frozen=True)
class ScoreByParameters(Observer):
    """A network is as accurate as it is large: 100 for the original."""

    total: int
    higher_is_better: bool = True

    def observe(self, _before, _result, record):
        share = record.cost.parameters / self.total
        value = 100 * (share if self.higher_is_better else 1 / share)
        return replace(record, score=Score("size", value, "%", self.higher_is_better, 1, None, None))


def cost_of(model):
    return CostModel(analysed(model), RULES).total


def run(passes, model, folder, observers=(), min_accuracy=None):
    records = []
    pipeline = Pipeline(passes, [*observers], cost_of, min_accuracy, records.append)
    outcome = pipeline.run(model, context_of(model, folder))
    assert tuple(records) == outcome.records
    return outcome


def test_every_pass_leaves_a_record_after_the_originals(tmp_path):
    model = network()
    outcome = run([FoldConstants(), Prune(), Rematch()], model, tmp_path)
    assert [(item.name, item.status) for item in outcome.records] == [
        ("original", Status.ORIGINAL),
        ("fold-constants", Status.UNCHANGED),
        ("prune", Status.KEPT),
        ("rematch", Status.UNCHANGED),
    ]
    assert outcome.records[0].cost == cost_of(model)
    assert outcome.last.cost == cost_of(outcome.model)
    assert outcome.records[2].size_bytes == outcome.model.ByteSize()
    assert outcome.pruning.source is model


def test_a_pass_sees_what_an_earlier_one_has_pruned(tmp_path):
    outcome = run([Prune(), Rematch()], network(), tmp_path)
    assert outcome.records[-1].notes == ("no samples were given: there is nothing to match",)
    outcome = run([Rematch()], network(), tmp_path)
    assert outcome.records[-1].notes == ("nothing was pruned: there is nothing to match",)


def test_a_pass_that_makes_the_engine_slower_is_rolled_back(tmp_path):
    model = network()
    observers = [Verify(feeds_of(model)), Measure(timer_of(model, tmp_path))]
    outcome = run([Detour(), Prune()], model, tmp_path, observers)
    slower = outcome.records[1]
    assert slower.status is Status.ROLLED_BACK
    assert slower.comparison.ratio > 1
    assert slower.reason == f"slower than before: {slower.comparison.ratio:.3f} instead of 1.000"
    assert outcome.pruning.source is model  # The next pass starts from what was there before.
    assert outcome.last.name == "prune"


def test_a_pass_that_falls_through_the_accuracy_floor_is_rolled_back(tmp_path):
    model = network()
    outcome = run([Prune()], model, tmp_path, [ScoreByParameters(cost_of(model).parameters)], min_accuracy=99)
    value = outcome.records[1].score.value
    assert outcome.records[1].status is Status.ROLLED_BACK
    assert outcome.records[1].reason == f"below the floor: size of {value:.2f}, floor 99"
    assert outcome.records[1].below_floor
    assert outcome.model is model
    assert outcome.pruning is None
    assert outcome.last.name == "original"


def test_a_metric_for_which_lower_is_better_has_its_floor_above(tmp_path):
    model = network()
    observer = ScoreByParameters(cost_of(model).parameters, higher_is_better=False)
    assert run([Prune()], model, tmp_path, [observer], min_accuracy=1e6).last.name == "prune"
    assert run([Prune()], model, tmp_path, [observer], min_accuracy=101).last.name == "original"


@dataclass(frozen=True)
class Undo(Pass):
    """Repairs by going back to the network before pruning, or by nothing at all."""

    repairs = True
    helps: bool = True

    def run(self, _model, context):
        source = context.cut.source if self.helps else _model
        return PassResult(source, self.helps, exact=False)


def test_a_lossy_pass_is_judged_after_the_pass_that_repairs_it(tmp_path):
    model = network()
    observers = [ScoreByParameters(cost_of(model).parameters)]
    outcome = run([Prune(), Undo()], model, tmp_path, observers, min_accuracy=99)
    assert [item.status for item in outcome.records[1:]] == [Status.KEPT, Status.KEPT]


def test_a_lossy_pass_goes_with_the_repair_that_was_not_enough(tmp_path):
    model = network()
    records = []
    pipeline = Pipeline(
        [Prune(), Undo(helps=False)], [ScoreByParameters(cost_of(model).parameters)], cost_of, 99, records.append
    )
    outcome = pipeline.run(model, context_of(model, tmp_path))
    assert [item.status for item in outcome.records[1:]] == [Status.ROLLED_BACK, Status.ROLLED_BACK]
    assert all(item.below_floor for item in outcome.records[1:])
    assert outcome.model is model
    assert outcome.pruning is None


def test_an_original_below_the_floor_is_refused_before_the_search(tmp_path):
    model = network()
    with pytest.raises(UsageError, match=r"the original misses the floor: size of 100\.00, floor 101; lower"):
        run([Prune()], model, tmp_path, [ScoreByParameters(cost_of(model).parameters)], min_accuracy=101)


def test_a_pass_above_the_floor_is_kept(tmp_path):
    model = network()
    outcome = run([Prune()], model, tmp_path, [ScoreByParameters(cost_of(model).parameters)], min_accuracy=1)
    assert outcome.last.name == "prune"


def test_verify_catches_a_pass_that_changes_what_the_network_computes(tmp_path):
    model = network()
    with pytest.raises(PrunecError, match=r"^pass scale: its result differs from what it stands for by .* report"):
        run([Scale()], model, tmp_path, [Verify(feeds_of(model))])


def test_verify_catches_a_pruning_that_kept_the_wrong_units(tmp_path):
    @dataclass(frozen=True)
    class Confused(Prune):
        def run(self, model, context):
            result = super().run(model, context)
            kept = result.pruning.kept
            swapped = {"stem_weight": {0: (kept["stem_weight"][0] + 1) % 32}}
            return replace(result, pruning=replace(result.pruning, kept={**kept, **swapped}))

    model = network()
    with pytest.raises(PrunecError, match=r"^pass confused: its result differs from what it stands for"):
        run([Confused()], model, tmp_path, [Verify(feeds_of(model))])


def test_a_pass_that_changes_weights_for_the_better_says_so_and_is_not_held_to_equality(tmp_path):
    model = network()
    outcome = run([Scale(exact=False)], model, tmp_path, [Verify(feeds_of(model))])
    assert outcome.last.name == "scale"
    assert outcome.last.check is None


def test_an_exact_pass_is_checked_and_the_error_is_recorded(tmp_path):
    model = network()
    outcome = run([Prune()], model, tmp_path, [Verify(feeds_of(model))])
    check = outcome.records[1].check
    assert check.passed
    assert check.powered
    assert check.relative_error <= check.tolerance <= 1e-3


def test_one_content_is_timed_once(tmp_path):
    model = network()
    journal = tmp_path / "journal.jsonl"
    timer = replace(timer_of(model, tmp_path), journal=Journal(journal))
    outcome = run([FoldConstants(), Rematch()], model, tmp_path, [Measure(timer)])
    assert len(journal.read_text().splitlines()) == 1
    assert outcome.records[2].comparison == outcome.records[0].comparison


def test_dump_writes_the_model_after_each_pass(tmp_path):
    model, folder = network(), tmp_path / "dump"
    outcome = run([FoldConstants(), Prune()], model, tmp_path, [Dump(folder)])
    names = ["01-original.onnx", "02-fold-constants.onnx", "03-prune.onnx"]
    assert sorted(path.name for path in folder.iterdir()) == names
    feeds = feeds_of(model)
    written = execute(onnx.load(folder / names[2]), feeds)
    assert relative_error(written, execute(outcome.model, feeds)) == 0


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"^--dump-dir .*file/dump: cannot be written \(.*\); name a folder"):
        run([FoldConstants()], network(), tmp_path, [Dump(tmp_path / "file" / "dump")])
