"""Constants that are no layer's: floats become parameters, since they may be trained, the rest buffers."""

from __future__ import annotations

import onnx

from toolchain.emit.torch_module.code import Argument, Call, keyword, positional
from toolchain.errors import ModelError
from toolchain.graph.facts import Array

TORCH_NAMES: dict[int, str] = {
    onnx.TensorProto.BFLOAT16: "torch.bfloat16",
    onnx.TensorProto.BOOL: "torch.bool",
    onnx.TensorProto.DOUBLE: "torch.float64",
    onnx.TensorProto.FLOAT: "torch.float32",
    onnx.TensorProto.FLOAT16: "torch.float16",
    onnx.TensorProto.INT16: "torch.int16",
    onnx.TensorProto.INT32: "torch.int32",
    onnx.TensorProto.INT64: "torch.int64",
    onnx.TensorProto.INT8: "torch.int8",
    onnx.TensorProto.UINT8: "torch.uint8",
}


def torch_dtype(data_type: int) -> str:
    """Name an ONNX element type in PyTorch; ModelError where PyTorch has none like it."""
    if data_type not in TORCH_NAMES:
        known = data_type in onnx.TensorProto.DataType.values() and data_type != onnx.TensorProto.UNDEFINED
        name = f"type {onnx.TensorProto.DataType.Name(data_type)}" if known else "unknown type"
        raise ModelError(f"tensors of {name} cannot be written in PyTorch", hint="cast them in the model")
    return TORCH_NAMES[data_type]


def empty_tensor(value: Array) -> Call:
    """Write a tensor of the value's shape and type, to be filled from the weights."""
    sizes = tuple(positional(f"size{axis}", size) for axis, size in enumerate(value.shape))
    shape: tuple[Argument, ...] = sizes or (positional("size", "()"),)
    dtype = torch_dtype(onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
    return Call("torch.empty", (*shape, keyword("dtype", dtype, "torch.float32")))
