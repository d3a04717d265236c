from dataclasses import fields, replace

import pytest
from latencies import signature

from toolchain.store.signature import OpSignature

OTHERS = {
    "op_type": "ConvTranspose",
    "input_width": 65,
    "output_width": 129,
    "batch": 2,
    "data_type": "FLOAT16",
    "spatial_size": (28, 29),
    "kernel_shape": (3, 1),
    "strides": (2, 1),
    "pads": (1, 1, 0, 0),
    "dilations": (1, 2),
    "group": 2,
    "fused_ops": ("Relu", "Add"),
}


@pytest.mark.parametrize("name", [field.name for field in fields(OpSignature)])
def test_every_field_makes_another_signature(name):
    assert replace(signature(), **{name: OTHERS[name]}).to_json() != signature().to_json()


def test_people_read_it_in_one_line():
    assert str(signature()) == "Conv+Add+Relu 3x3 64 to 128, 1x28x28, FLOAT"
    strided = replace(signature(), strides=(2, 2), dilations=(1, 2), group=4, fused_ops=())
    assert str(strided) == "Conv 3x3 64 to 128, strides 2x2, dilations 1x2, group 4, 1x28x28, FLOAT"
    assert str(OpSignature("Gemm", 512, 10, batch=8, data_type="FLOAT16")) == "Gemm 512 to 10, 8, FLOAT16"
