import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import analysed, assert_pruned_equals_masked, assert_valid, prune
from random_graphs import networks

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


def hold_to_the_oracle(model: onnx.ModelProto, ratio: float, seed: int) -> None:
    onnx.checker.check_model(model, full_check=True)
    if analysed(model).prunable_groups:  # what is drawn may ignore units (a padded zero), so power is not asked for
        assert_pruned_equals_masked(model, ratio, seed, powered=False)
    else:
        assert_valid(prune(model, {}))


@settings(max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=QUIET)
@given(networks(), st.floats(0.1, 0.9), st.integers(0, 99))
def test_random_networks_pruned_at_random_equal_masked(model: onnx.ModelProto, ratio: float, seed: int) -> None:
    hold_to_the_oracle(model, ratio, seed)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, database=None, suppress_health_check=QUIET)
@given(networks(longest=20), st.floats(0.1, 0.9), st.integers(0, 99))
def test_ten_thousand_random_networks_equal_masked(model: onnx.ModelProto, ratio: float, seed: int) -> None:
    hold_to_the_oracle(model, ratio, seed)
