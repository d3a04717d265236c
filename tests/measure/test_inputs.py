import numpy as np
import onnx
import pytest
from small import network

from toolchain.errors import UsageError
from toolchain.measure.inputs import Input, Sizes, difference, inputs_of, interface_of, random_inputs

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
OPEN = interface_of([("x", FLOAT, ["N", 3, None, None])])


def known(*shape):
    return (Input(name="x", data_type=FLOAT, shape=shape),)


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        (Sizes(known=(known(8, 3, 32, 32),)), (8, 3, 32, 32)),
        (Sizes(known=(known(8, 3, 32, 32), known(4, 3, 64, 64))), (8, 3, 32, 32)),
        (Sizes(known=((), known(4, 3, 64, 64))), (4, 3, 64, 64)),
        (Sizes(known=(known(8, 1, 32, 32), known(4, 3, 64, 64))), (4, 3, 64, 64)),
        (Sizes(wanted={"x": (2, 3, 16, 16)}, known=(known(8, 3, 32, 32),)), (2, 3, 16, 16)),
    ],
    ids=["its own", "its own first", "the other's", "the first that fits", "as wanted"],
)
def test_open_sizes_are_those_that_somebody_knows(sizes, shape):
    (found,) = inputs_of(OPEN, sizes.binding(OPEN))
    assert found == Input(name="x", data_type=FLOAT, shape=shape)


def test_a_batch_is_1_and_nothing_else_is_guessed():
    model = network(batch="N")
    assert [item.shape for item in inputs_of(model, Sizes().binding(model))] == [(1, 3, 8, 8)]
    with pytest.raises(UsageError, match="of input 'x' has no fixed size"):
        Sizes().binding(OPEN)


def test_values_are_drawn_for_every_input():
    inputs = (*known(2, 3, 4, 4), Input(name="n", data_type=INT64, shape=()))
    feeds = random_inputs(inputs, np.random.default_rng(0))
    assert {name: (value.dtype.name, value.shape) for name, value in feeds.items()} == {
        "x": ("float32", (2, 3, 4, 4)),
        "n": ("int64", ()),
    }


def test_the_first_difference_is_named():
    scalar = Input(name="n", data_type=INT64, shape=())
    assert difference((*known(1, 3), scalar), (scalar, *known(1, 3))) == ""
    assert difference(known(1, 3), known(2, 3)) == "x float 1x3 against x float 2x3"
    assert difference(known(1, 3), (*known(1, 3), scalar)) == "no n against n int64 scalar"
