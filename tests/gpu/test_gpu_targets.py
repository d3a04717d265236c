import numpy as np
import pytest
from small import network

from toolchain.errors import EnvironmentMissing
from toolchain.graph.deployment import random_feeds
from toolchain.graph.hashing import model_sha256
from toolchain.measure.protocol import Protocol, compare, measure
from toolchain.targets.contract import Clock
from toolchain.targets.onnxruntime import ReferenceSession

QUICK = Protocol(max_seconds=10.0)


def run(target, engine, feeds):
    with target.runner(engine) as runner:
        return {name: np.array(value) for name, value in runner.infer(feeds).items()}


def test_the_engine_computes_what_the_model_says(gpu_target, tmp_path, measured):
    model = network()
    feeds = random_feeds(model, {}, np.random.default_rng(0))
    expected = ReferenceSession(model, ["scores"]).run(feeds)["scores"]
    found = run(gpu_target, gpu_target.build(model, tmp_path), feeds)["scores"]
    error = np.abs(found - expected).max() / np.abs(expected).max()
    measured["relative_error"] = float(error)
    assert error < 5e-3  # TF32 keeps ten bits of the fraction


def test_a_latency_is_measured_with_its_identity(gpu_target, tmp_path, measured):
    model = network()
    engine = gpu_target.build(model, tmp_path)
    feeds = random_feeds(model, {}, np.random.default_rng(0))
    latency = measure(gpu_target, engine, feeds, protocol=QUICK, rng=np.random.default_rng(0))
    measured |= {"median_ms": latency.median_ms, "half_width": latency.half_width}
    measured["identity"] = {"device": latency.identity.device, "runtime": latency.identity.runtime}
    assert latency.clock in (Clock.HOST, Clock.DEVICE)
    assert latency.identity == gpu_target.identity()
    assert 0 < latency.p10_ms <= latency.median_ms <= latency.p90_ms


def test_a_network_of_twice_the_width_is_not_called_faster(gpu_target, tmp_path, measured):
    models = [network(width=width) for width in (256, 512)]
    engines = [gpu_target.build(model, tmp_path) for model in models]
    feeds = random_feeds(models[0], {}, np.random.default_rng(0))
    comparison = compare(gpu_target, *engines, feeds, protocol=QUICK, rng=np.random.default_rng(0))
    measured["ratio"] = comparison.ratio
    assert comparison.ratio > 1 - comparison.half_width


def test_a_built_engine_is_found_again(gpu_target, tmp_path):
    model = network()
    first = gpu_target.build(model, tmp_path)
    assert gpu_target.build(model, tmp_path) == first
    assert first.model_sha256 == model_sha256(model)


def test_a_damaged_engine_is_refused_in_one_line(gpu_target, tmp_path):
    if gpu_target.name == "onnxruntime":
        pytest.skip("its engine is an ONNX file, which has tests of its own")
    model = network()
    engine = gpu_target.build(model, tmp_path)
    engine.path.write_bytes(engine.path.read_bytes()[:1000])
    with pytest.raises(EnvironmentMissing, match=r"cannot load the engine .*; build it with this version"):
        run(gpu_target, engine, random_feeds(model, {}, np.random.default_rng(0)))
