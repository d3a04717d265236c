from pathlib import Path

import numpy as np
import onnx

from toolchain.data.accuracy import Subset, in_pieces
from toolchain.data.arrays import ArraySource
from toolchain.data.dataset import Dataset
from toolchain.data.interface import ModelInterface


def samples(count):
    specs = onnx.parser.parse_model('<ir_version: 10, opset_import: ["": 20]> net (float[N,2] x) => () { }')
    arrays = ArraySource(Path("x.npz"), {"x": np.zeros((count, 2), np.float32)})
    return Dataset(ModelInterface.of(specs), arrays)


def test_an_engine_of_fixed_batch_is_fed_piece_by_piece():
    sizes = []

    def run(feeds):
        sizes.append(len(feeds["x"]))
        return {"y": 2 * feeds["x"]}

    x = np.arange(7, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(in_pieces(run, 3)({"x": x})["y"], 2 * x)
    assert sizes == [3, 3, 3]


def test_a_batch_that_fits_is_fed_as_it_is():
    x = np.arange(4.0)
    feeds = {"x": x}
    assert in_pieces(lambda given: given, 4)(feeds) is feeds


def test_samples_that_choose_are_never_those_that_make():
    data = samples(9)
    fitting, held_out = Subset(data, np.arange(9)).divided()
    assert held_out.indices.tolist() == [1, 5]
    assert sorted([*fitting.indices, *held_out.indices]) == list(range(9))


def test_a_single_sample_both_makes_and_chooses():
    fitting, held_out = Subset(samples(1), np.arange(1)).divided()
    assert fitting.indices.tolist() == held_out.indices.tolist() == [0]
