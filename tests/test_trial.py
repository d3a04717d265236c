"""A model that nobody knows is run once, apart."""

import onnx
import pytest
from oracle import RULES, graph
from small import network

from toolchain.errors import ModelError
from toolchain.graph.analysis import analyse
from toolchain.graph.cost import Cost, CostModel
from toolchain.graph.normalise import normalise
from toolchain.isolation import Allowance
from toolchain.trial import BASE_BYTES, BASE_SECONDS, allowance_for, try_out


def saved(model, folder):
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def test_a_good_model_passes(tmp_path):
    model = network(batch="N")
    analysis = analyse(normalise(model), RULES, binding={"N": 3})
    allowance = allowance_for(analysis.facts, CostModel(analysis, RULES).total)
    try_out(saved(model, tmp_path), {"N": 3}, allowance)


def test_the_allowance_grows_with_the_work():
    analysis = analyse(normalise(network()), RULES)
    small, large = (allowance_for(analysis.facts, Cost(parameters, 10**11)) for parameters in (1, 10**9))
    assert BASE_SECONDS < small.processor_seconds < large.processor_seconds
    assert BASE_BYTES < small.memory_bytes < large.memory_bytes


def test_what_the_runtime_refuses_is_told_in_one_line(tmp_path):
    model = graph("net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,5,1,1] w> { y = Conv(x, w) }")
    with pytest.raises(ModelError) as caught:
        try_out(saved(model, tmp_path), {}, Allowance(BASE_SECONDS, BASE_BYTES))
    assert "net.onnx: ONNX Runtime cannot run the model: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_needs_too_much_memory_is_refused(tmp_path):
    model = graph(
        "net (float[1] x) => (float[N] y) <int64[1] n = {1000000000}> { a = ConstantOfShape(n) y = Add(x, a) }"
    )
    with pytest.raises(ModelError):
        try_out(saved(model, tmp_path), {}, Allowance(BASE_SECONDS, BASE_BYTES))
