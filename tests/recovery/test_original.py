import numpy as np
import onnx
import pytest
from oracle import analysed, execute
from small import network, samples_of

from passes.linear.convolution import Convolution
from passes.linear.matmul import MatMul
from toolchain.graph.facts import Fact
from toolchain.recovery.layer import rows_of
from toolchain.recovery.original import Sampling, draw, in_rounds, observe_original, positions_for


def test_positions_are_drawn_once_each_in_order_and_alike_for_one_key():
    at = draw(50, 1000, (1, 2, 3))
    assert np.all(np.diff(at) > 0)
    np.testing.assert_array_equal(at, draw(50, 1000, (1, 2, 3)))
    assert np.any(at != draw(50, 1000, (1, 2, 4)))
    np.testing.assert_array_equal(draw(50, 20, (1,)), np.arange(20))


@pytest.mark.parametrize(
    ("unknowns", "per_unknown", "fitting", "positions"),
    [
        (576, 64, 768, 36864),  # all samples that were asked for
        (576, 64, 9999, 36864),
        (576, 64, 384, 18432),  # half of them
        (576, 64, 10, 9216),  # never fewer than 16 for each unknown
        (576, 8, 10, 4608),  # unless fewer were asked for
        (9, 64, 768, 4096),  # never fewer than 4,096
    ],
)
def test_a_layer_is_fitted_on_positions_in_proportion_to_unknowns_and_samples(
    unknowns, per_unknown, fitting, positions
):
    sampling = Sampling(samples=1024, positions_per_unknown=per_unknown, memory_bytes=1 << 30, seed=0)
    assert positions_for(unknowns, sampling, fitting) == positions


def test_rounds_hold_every_tensor_once_within_the_limit():
    facts = {name: Fact(onnx.TensorProto.FLOAT, (1, size)) for name, size in zip("abcd", (10, 20, 200, 5), strict=True)}
    rounds = list(in_rounds(list("abcd"), facts, 4, 4 * 4 * 30))
    assert rounds == [["a", "b"], ["c"], ["d"]]


def test_targets_are_what_the_original_computes_at_the_drawn_positions():
    model = network(batch="N")
    samples = samples_of(model)
    analysis = analysed(model)
    sampling = Sampling(samples=64, positions_per_unknown=1, memory_bytes=1 << 30, seed=0)
    found = observe_original(analysis, [Convolution, MatMul], samples.calibration_of(analysis.model), sampling)
    assert found.fitting == 3  # 48 of 64 samples, in batches of 16
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(onnx.ValueInfoProto(name="body"))
    for feeds, sample in zip(found.batches, found.targets["body"].samples, strict=True):
        np.testing.assert_allclose(sample.rows, rows_of(execute(copy, feeds)["body"], 1, sample.at), atol=1e-5)
