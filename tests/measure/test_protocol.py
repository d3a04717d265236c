import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.measure.comparison import Comparison
from toolchain.measure.latency import Latency
from toolchain.measure.protocol import Protocol, Run, compare, measure, undisturbed
from toolchain.targets.onnxruntime import Onnxruntime

TARGET = Onnxruntime(threads=1)
QUICK = Protocol(warm_up_seconds=0.05, round_ms=20, min_rounds=6, max_seconds=1)
FEEDS = {"x": np.random.default_rng(0).standard_normal((2, 32, 12, 12), np.float32)}


def chain(layers: int) -> onnx.ModelProto:
    rng = np.random.default_rng(layers)
    names = ["x", *(f"t{number}" for number in range(layers))]
    weights = [
        numpy_helper.from_array(rng.standard_normal((32, 32, 3, 3), np.float32), f"w{number}")
        for number in range(layers)
    ]
    nodes = [
        helper.make_node("Conv", [names[number], f"w{number}"], [names[number + 1]], pads=[1, 1, 1, 1])
        for number in range(layers)
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 32, 12, 12]) for name in (names[0], names[-1])
    ]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    return {layers: TARGET.build(chain(layers), folder) for layers in (4, 12)}


def test_a_third_of_the_work_is_found_faster(engines):
    found = compare(TARGET, engines[12], engines[4], FEEDS, protocol=QUICK, rng=np.random.default_rng(0))
    assert found.verdict == "faster"
    assert 0.1 < found.low <= found.ratio <= found.high < 0.8
    assert len(found.round_ratios) >= QUICK.min_rounds
    assert found.ratio == np.median(found.round_ratios)


def test_three_times_the_work_is_found_slower(engines):
    found = compare(TARGET, engines[4], engines[12], FEEDS, protocol=QUICK, rng=np.random.default_rng(0))
    assert found.verdict == "slower"


def test_an_interval_that_stays_too_wide_is_said(engines):
    strict = Protocol(warm_up_seconds=0, round_ms=0, min_rounds=3, max_seconds=0, half_width=1e-9)
    found = compare(TARGET, engines[4], engines[4], FEEDS, protocol=strict, rng=np.random.default_rng(0))
    assert not found.converged
    assert len(found.round_ratios) == 3
    assert found.half_width > 1e-9


def test_a_latency_says_what_it_means(engines):
    found = measure(TARGET, engines[4], FEEDS, protocol=QUICK, rng=np.random.default_rng(0))
    assert (found.clock, found.batch, found.identity) == ("host", 2, engines[4].identity)
    assert found.warm_up_runs >= 10
    assert found.warm_up_seconds > 0
    assert len(found.samples_ms) + found.disturbed_runs >= QUICK.min_rounds * QUICK.turn_runs
    assert 0 < found.p10_ms <= found.median_ms <= found.p90_ms
    assert found.measured


def test_latencies_and_comparisons_survive_json(engines):
    found = compare(TARGET, engines[12], engines[4], FEEDS, protocol=QUICK, rng=np.random.default_rng(0))
    assert Comparison.from_json(found.to_json()) == found
    assert Latency.from_json(found.baseline.to_json()) == found.baseline


def test_runs_that_the_kernel_interrupted_do_not_count():
    quiet = [Run(3.3, disturbed=False)] * 3
    assert undisturbed([*quiet, Run(7.4, disturbed=True)]) == quiet


def test_where_hardly_any_run_was_left_alone_all_count():
    runs = [Run(3.3, disturbed=False), *[Run(7.4, disturbed=True)] * 9]
    assert undisturbed(runs) == runs
