import shutil
from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
from small import network

from toolchain.errors import EnvironmentMissing
from toolchain.graph.deployment import random_feeds
from toolchain.graph.hashing import model_sha256
from toolchain.measure.protocol import Protocol, compare, measure
from toolchain.targets.contract import Clock
from toolchain.targets.layer_time import WEIGHTED
from toolchain.targets.onnxruntime import ReferenceSession
from toolchain.targets.pinned_cache import cache_path

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


def tensorrt_only(target, *names):
    if target.name not in names:
        pytest.skip(f"for {', '.join(names)}")


def timed(target, model, folder):
    feeds = random_feeds(model, {}, np.random.default_rng(0))
    return measure(target, target.build(model, folder), feeds, protocol=QUICK, rng=np.random.default_rng(0))


def test_the_device_takes_no_longer_than_the_host_sees(gpu_target, tmp_path, measured):
    tensorrt_only(gpu_target, "tensorrt", "tensorrt-rtx")
    host = timed(gpu_target, network(), tmp_path)
    device = timed(replace(gpu_target, timed_on="device"), network(), tmp_path)
    measured["host_ms"], measured["device_ms"] = host.median_ms, device.median_ms
    assert (host.clock, device.clock) == (Clock.HOST, Clock.DEVICE)
    assert 0 < device.median_ms < host.median_ms


def test_a_cuda_graph_computes_the_same(gpu_target, tmp_path, measured):
    tensorrt_only(gpu_target, "tensorrt", "tensorrt-rtx")
    model = network()
    feeds = random_feeds(model, {}, np.random.default_rng(0))
    replaying = replace(gpu_target, cuda_graph=True, timed_on="device")
    with replaying.runner(replaying.build(model, tmp_path)) as runner:
        found = [np.array(runner.infer(feeds)["scores"]) for _ in range(4)]
        measured["device_ms"] = runner.last_inference_time() * 1e3
    expected = ReferenceSession(model, ["scores"]).run(feeds)["scores"]
    for scores in found:
        assert np.abs(scores - expected).max() < 5e-3 * np.abs(expected).max()


def test_a_profile_names_the_nodes_of_the_model(gpu_target, tmp_path, measured):
    tensorrt_only(gpu_target, "tensorrt")
    model = network()
    engine = gpu_target.build(model, tmp_path)
    layers = gpu_target.profile(model, engine, random_feeds(model, {}, np.random.default_rng(0)), 10)
    measured["layers"] = {layer.name: [float(np.median(layer.samples_ms)), *layer.nodes] for layer in layers}
    assert all(len(layer.samples_ms) == 10 for layer in layers)
    named = {name for layer in layers for name in layer.nodes}
    assert {node.output[0] for node in model.graph.node if node.op_type in WEIGHTED} <= named


def test_of_several_builds_the_fastest_is_kept_with_its_timings(gpu_target, tmp_path, measured):
    tensorrt_only(gpu_target, "tensorrt")
    engine = replace(gpu_target, builds=3).build(network(), tmp_path)
    measured["builds_ms"] = engine.builds_ms
    assert len(engine.builds_ms) == 3
    assert cache_path("timings", engine.identity.key()).stat().st_size > 100


def test_a_second_session_finds_the_compiled_kernels(gpu_target, tmp_path, measured, monkeypatch):
    tensorrt_only(gpu_target, "tensorrt-rtx")
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path / "cache"))
    model = network()
    engine = gpu_target.build(model, tmp_path)
    seconds = []
    for _ in range(2):
        start = perf_counter()
        with gpu_target.runner(engine):
            seconds.append(perf_counter() - start)
    measured["opening_seconds"] = seconds
    assert cache_path("kernels", engine.identity.key()).stat().st_size > 100


def test_the_state_of_the_gpu_is_known(gpu_target, tmp_path, measured):
    if shutil.which("nvidia-smi") is None:
        pytest.skip("there is no nvidia-smi")
    states = timed(gpu_target, network(), tmp_path).gpu
    measured["before_mhz"], measured["after_mhz"] = states.before.clock_mhz, states.after.clock_mhz
    assert states.after.clock_mhz > 0
