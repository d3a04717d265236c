"""Detectors of the YOLO family with their decoding: all channels but the predictions themselves can go."""

import pytest
import structures
from detection import detector
from oracle import analysed, assert_pruned_equals_masked, reasons

from toolchain.graph.coverage import coverage

VERSIONS = [3, 5, 8, 11]
FIXED = (
    "its size is part of the interface",
    "it convolves along these channels",  # the expectation of a box side's distribution
    "it sums products of two computed tensors over these",  # queries and keys
)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_detector_loses_anything_but_its_predictions_exactly(version: int) -> None:
    model = structures.export(detector(version), 3, 32, 32)
    assert coverage(analysed(model)).share > 0.8
    assert all(any(why in reason for why in FIXED) for reason in reasons(model).values())
    for ratio in (0.1, 0.3):
        assert_pruned_equals_masked(model, ratio)
