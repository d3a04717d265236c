from collections.abc import Callable

import onnx
import pytest

from toolchain.data.interface import ModelInterface

MakeInterface = Callable[[str, str], ModelInterface]


@pytest.fixture
def make_interface() -> MakeInterface:
    """Make the interface of a model with the given inputs and outputs, in ONNX's text format."""

    def make(inputs: str, outputs: str) -> ModelInterface:
        text = f'<ir_version: 10, opset_import: ["": 20]> net ({inputs}) => ({outputs}) {{ }}'
        return ModelInterface.of(onnx.parser.parse_model(text))

    return make


@pytest.fixture
def classifier(make_interface: MakeInterface) -> ModelInterface:
    return make_interface("float[N,3,8,8] image", "float[N,4] logits")
