import numpy as np
import pytest

from toolchain.strategies.exact.losses import Losses

CANDIDATES = dict.fromkeys("abcd", (16, 8, 4, 0))
SHAPE = {16: 0.0, 8: 0.1, 4: 1.0, 0: 3.0}


@pytest.fixture
def losses():
    """Return four groups that are predicted to lose differently much."""
    scale = {"a": 0.5, "b": 1.0, "c": 2.0, "d": 1.0}
    return Losses(CANDIDATES, {(name, width): scale[name] * SHAPE[width] for name in CANDIDATES for width in SHAPE})


def measured(losses, points, truth):
    for point in points:
        losses = losses.with_measured(point, truth(point, losses.predicted[point]))
    return losses


def test_without_measurements_the_predictions_stand(losses):
    assert losses.table() == losses.predicted


def test_one_measurement_scales_all_groups_alike(losses):
    table = losses.with_measured(("a", 8), 0.5 * 0.1 * 3).table()
    for point, predicted in losses.predicted.items():
        assert table[point] == pytest.approx(3 * predicted, rel=1e-9)


def test_what_was_measured_is_in_the_table(losses):
    rng = np.random.default_rng(0)
    points = [("a", 8), ("a", 4), ("b", 8), ("c", 4), ("c", 0)]
    known = measured(losses, points, lambda _, predicted: predicted * rng.uniform(0.8, 1.2))
    for point in points:
        assert known.table()[point] == pytest.approx(known.measured[point], rel=1e-9)


def test_that_small_losses_are_repaired_better_is_learned_for_groups_that_were_not_measured(losses):
    points = [(name, width) for name in "abc" for width in (8, 4)]
    table = measured(losses, points, lambda _, predicted: predicted**1.5).table()
    small, large = table["d", 8] / losses.predicted["d", 8], table["d", 4] / losses.predicted["d", 4]
    assert small < 0.6 * large


def test_that_whole_branches_are_repaired_worse_is_learned_for_groups_that_were_not_measured(losses):
    points = [(name, width) for name in "abc" for width in (8, 4, 0)]
    table = measured(losses, points, lambda point, predicted: predicted * (10 if point[1] == 0 else 1)).table()
    assert table["d", 0] > 3 * losses.predicted["d", 0]
    assert table["d", 4] < 2 * losses.predicted["d", 4]


def test_a_narrower_group_never_loses_less(losses):
    table = measured(losses, [("a", 8)], lambda *_: 100.0).table()
    for name, widths in CANDIDATES.items():
        values = [table[name, width] for width in widths]
        assert values == sorted(values)
