"""Builds that really differ: the same model behind more or less of work that comes to nothing."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from toolchain.graph.deployment import random_feeds
from toolchain.targets.engine import Engine
from toolchain.targets.onnxruntime import Onnxruntime
from toolchain.targets.several_builds import Best, choose, keep_one

SIZE = 256
WORK = (2, 40, 10)
"""Products of matrices in each build in turn: the first is the fastest, the last the median."""


def chain(products: int) -> onnx.ModelProto:
    names = ["x", *(f"t{number}" for number in range(products - 1)), "y"]
    steps = " ".join(f"{after} = MatMul({before}, w)" for before, after in pairwise(names))
    size = f"float[{SIZE},{SIZE}]"
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> chain ({size} x, {size} w) => ({size} y) {{ {steps} }}'
    )


@dataclass(frozen=True)
class Varying(Onnxruntime):
    """Builds another engine each time."""

    builds: int = 3
    best: Best = Best.FASTEST

    def compile(self, model: onnx.ModelProto, path: Path) -> None:
        work = iter(WORK)

        def runner(candidate):
            return self.runner(Engine(candidate, self.identity(), "", ""))

        feeds = random_feeds(model, {}, np.random.default_rng(0))
        kept = keep_one(
            lambda candidate: super(Varying, self).compile(chain(next(work)), candidate),
            runner,
            feeds,
            path,
            self.builds,
            self.best,
        )
        assert kept == {Best.FASTEST: 0, Best.MEDIAN: 2}[self.best]


@pytest.mark.parametrize(("best", "work"), [(Best.FASTEST, 2), (Best.MEDIAN, 10)])
def test_builds_are_timed_and_the_wanted_one_is_kept(best, work, tmp_path):
    target = Varying(best=best)
    engine = target.build(chain(5), tmp_path)
    assert [node.op_type for node in onnx.load(engine.path).graph.node] == ["MatMul"] * work
    assert engine.builds_ms[0] < engine.builds_ms[2] < engine.builds_ms[1]
    assert [path.name for path in engine.files] == ["engine.onnx"]
    assert sorted(path.name for path in engine.path.parent.iterdir()) == [
        "builds.json",
        "descriptor.json",
        "engine.onnx",
    ]


def test_the_note_of_the_builds_is_found_with_the_engine_and_does_not_change_it(tmp_path):
    target = Varying()
    engine = target.build(chain(5), tmp_path)
    again = target.build(chain(5), tmp_path)
    assert again == engine
    assert again.builds_ms == engine.builds_ms
    engine.path.with_name("builds.json").write_text("nonsense")
    assert target.build(chain(5), tmp_path) == engine
    assert engine.builds_ms == ()


def test_a_single_build_has_no_note(tmp_path):
    assert Onnxruntime().build(chain(2), tmp_path).builds_ms == ()


@pytest.mark.parametrize(
    ("medians_ms", "fastest", "median"), [((1.0,), 0, 0), ((2.0, 1.0), 1, 1), ((3.0, 1.0, 2.0, 4.0), 1, 2)]
)
def test_of_an_even_number_the_lower_median_is_kept(medians_ms, fastest, median):
    assert choose(medians_ms, Best.FASTEST) == fastest
    assert choose(medians_ms, Best.MEDIAN) == median
