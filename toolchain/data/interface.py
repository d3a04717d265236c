"""What a model takes and gives: the names, types and shapes that data must fit."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx

from toolchain.errors import DataError, ModelError

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output; axis 0 is the batch, and `None` in the shape is a symbolic size."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape

    @classmethod
    def of(cls, value: onnx.ValueInfoProto) -> Self:
        """Read name, type and shape of a graph input or output; ModelError where one of them is unknown."""
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
            raise ModelError(
                f"'{value.name}' is not a tensor of known rank",
                hint="run onnx.shape_inference.infer_shapes on the model, or write its shape into the model",
            )
        sizes = tuple(size.dim_value if size.dim_value > 0 else None for size in tensor.shape.dim)
        return cls(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type), sizes)

    @property
    def classes(self) -> int | None:
        """Return the class count of an output [N, classes] or [N, classes, 1, 1], else None."""
        wide = [size for size in self.shape[1:] if size != 1]
        if self.dtype.kind != "f" or len(self.shape) not in (2, 4) or len(wide) != 1:
            return None
        return wide[0]

    @property
    def text(self) -> str:
        """Return the shape as a reader expects it: `[N, 3, 224, 224]`, with `?` for a symbolic size."""
        batch, *sizes = self.shape or (None,)
        return f"[{', '.join([str(batch or 'N'), *(str(size or '?') for size in sizes)])}]"


@dataclass(frozen=True)
class ModelInterface:
    """The inputs and outputs of a model."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Self:
        """Read the interface of a model; initializers that old IR versions list as inputs are not inputs."""
        graph = model.graph
        constants = {tensor.name for tensor in graph.initializer}
        constants |= {tensor.values.name for tensor in graph.sparse_initializer}
        inputs = tuple(TensorSpec.of(value) for value in graph.input if value.name not in constants)
        return cls(inputs, tuple(TensorSpec.of(value) for value in graph.output))

    @property
    def batch_size(self) -> int | None:
        """Return the only batch size the model takes, None if any will do; DataError if inputs differ."""
        sizes = {spec.name: spec.shape[0] for spec in self.inputs if spec.shape}
        static = {size for size in sizes.values() if size is not None}
        if len(static) > 1 or len(sizes) < len(self.inputs):
            found = ", ".join(f"'{spec.name}' {list(spec.shape)}" for spec in self.inputs)
            raise DataError(
                f"the inputs do not share a batch on axis 0: {found}",
                hint="only a model whose inputs all have the batch on axis 0 can be fed",
            )
        return static.pop() if static else None

    @property
    def class_output(self) -> TensorSpec | None:
        """Return the output with class scores: the first of rank 2, else the first [N, classes, 1, 1]."""
        scores = [spec for spec in self.outputs if spec.classes is not None]
        return min(scores, key=lambda spec: len(spec.shape), default=None)

    @property
    def image_input(self) -> TensorSpec | None:
        """Return the input that takes images: the only one of rank 4."""
        images = [spec for spec in self.inputs if len(spec.shape) == 4]
        return images[0] if len(images) == 1 else None
