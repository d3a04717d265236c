import numpy as np
import onnx
import pytest

from toolchain.data.interface import ModelInterface, TensorSpec
from toolchain.errors import DataError, ModelError


def test_names_types_and_shapes_are_read_and_symbolic_sizes_are_none(make_interface):
    interface = make_interface("float[N,3,8,W] image, int64[1] count", "float16[N,10] scores")
    assert interface.inputs[0] == TensorSpec("image", np.dtype(np.float32), (None, 3, 8, None))
    assert interface.inputs[1] == TensorSpec("count", np.dtype(np.int64), (1,))
    assert interface.outputs == (TensorSpec("scores", np.dtype(np.float16), (None, 10)),)
    assert interface.inputs[0].text == "[N, 3, 8, ?]"


def test_initializers_listed_as_inputs_are_not_inputs():
    model = onnx.parser.parse_model(
        '<ir_version: 3, opset_import: ["": 8]> net (float[1,2] x, float[2] w) => (float[1,2] y) '
        "<float[2] w = {1, 2}> { y = Add(x, w) }"
    )
    assert "w" in [value.name for value in model.graph.input]
    assert [spec.name for spec in ModelInterface.of(model).inputs] == ["x"]


def test_an_output_of_unknown_rank_is_refused_with_what_to_do():
    model = onnx.ModelProto()
    model.graph.output.add(name="y").type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    with pytest.raises(ModelError, match="'y' is not a tensor of known rank; run onnx"):
        ModelInterface.of(model)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("float[N,10] a, float[N,20] b", "a"),
        ("float[N,64,1,1] features, float[N,10] logits", "logits"),
        ("float[N,10,1,1] a", "a"),
        ("float[N,1,1,10] a", "a"),
        ("float[N,1] a", None),
        ("float[N,C] a", None),
        ("int64[N,10] a", None),
        ("float[N,10,7,7] a", None),
        ("float[N,8400,85] a", None),
    ],
)
def test_the_class_output_is_the_first_of_rank_two_else_the_first_with_one_wide_axis(make_interface, outputs, expected):
    output = make_interface("float[N,3,8,8] x", outputs).class_output
    assert (output and output.name) == expected


def test_the_batch_size_is_the_static_one_if_any_input_has_it(make_interface):
    assert make_interface("float[N,3,8,8] x, float[N,2] s", "float[N,2] y").batch_size is None
    assert make_interface("float[8,3,8,8] x, float[N,2] s", "float[N,2] y").batch_size == 8


@pytest.mark.parametrize("inputs", ["float[8,3] x, float[4,2] s", "float[8,3] x, float s"])
def test_inputs_without_a_shared_batch_are_refused(make_interface, inputs):
    with pytest.raises(DataError, match=r"do not share a batch on axis 0: 'x' \[8, 3\], 's'"):
        _ = make_interface(inputs, "float[8,2] y").batch_size


def test_the_image_input_is_the_only_one_of_rank_four(make_interface):
    two = make_interface("float[N,3,8,8] a, float[N,3,8,8] b", "float[N,2] y")
    assert two.image_input is None
    one = make_interface("float[N,2] a, float[N,3,8,8] b", "float[N,2] y")
    assert one.image_input is not None
    assert one.image_input.name == "b"
