import numpy as np

from toolchain.data.accuracy import in_pieces


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
