import pytest
from small import network

from toolchain.graph.normalise import normalise
from toolchain.targets.onnxruntime_profile import layer_times


def test_a_profiler_that_seemed_dearer_than_a_kernel_is_no_dearer_than_the_shortest_one():
    model = normalise(network())
    samples = {number: [0.004 + 0.001 * number, 0.005 + 0.001 * number] for number in range(len(model.graph.node))}
    found = layer_times(model, model, samples, 0.1)
    assert [layer.samples_ms[1] for layer in found] == pytest.approx([0.001 + 0.001 * n for n in range(len(found))])
