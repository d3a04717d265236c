"""Matrix products with one stored operand as linear maps; a column is a row of the live operand.

Gemm    Y = A B + C                       A (M, K), B (K, N) or, with transB, (N, K)
MatMul  Y = A B, then Add of a constant   A (..., M, K), B (K, N)
(https://onnx.ai/onnx/operators/onnx__Gemm.html, onnx__MatMul.html)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import onnx

from toolchain.graph.index import GraphIndex, attribute, int_attribute
from toolchain.recovery.layer import Array, Indices, LinearLayer


@dataclass(frozen=True, eq=False)
class MatMul(LinearLayer):
    """A Gemm, or a MatMul with what is added to it."""

    ops: ClassVar[frozenset[str]] = frozenset({"Gemm", "MatMul"})

    @classmethod
    def of(cls, index: GraphIndex, node: onnx.NodeProto) -> Self | None:
        """Accept a stored matrix on the right, a stored vector as bias, and no scaling."""
        live, weight, bias = [*node.input, ""][:3]
        scaled = any(attribute(node, name) not in (None, 1.0) for name in ("alpha", "beta"))
        matrix = weight in index.constants and len(index.constants[weight].dims) == 2 and live not in index.constants
        if not matrix or scaled or int_attribute(node, "transA", 0) or (bias and bias not in index.constants):
            return None
        output = node.output[0]
        if node.op_type == "MatMul":
            bias, output = _added(index, output, index.constants[weight].dims[1])
        return cls(node, live, weight, bias, output, 1)

    @property
    def input_axis(self) -> int:
        """First, unless transposed."""
        return 1 if self._transposed else 0

    def channel_axis(self, rank: int) -> int:
        """Channels come last."""
        return rank - 1

    def columns(self, value: Array, weight_shape: tuple[int, ...], output_shape: tuple[int, ...], at: Indices) -> Array:  # noqa: ARG002
        """Pick rows."""
        rows: Array = value.reshape(-1, value.shape[-1])[at]
        return rows[None]

    def matrix(self, weight: Array) -> Array:
        """Undo the transposition."""
        return (weight.T if self._transposed else weight)[None]

    def array(self, matrix: Array, weight_shape: tuple[int, ...]) -> Array:  # noqa: ARG002
        """Transpose again."""
        plain: Array = matrix[0]
        return plain.T if self._transposed else plain

    def column_channels(self, weight_shape: tuple[int, ...]) -> Indices:
        """Every row of the matrix is an unknown."""
        return np.arange(weight_shape[self.input_axis])

    @property
    def _transposed(self) -> bool:
        return bool(int_attribute(self.node, "transB", 0))


def _added(index: GraphIndex, tensor: str, count: int) -> tuple[str, str]:
    """Return the vector that is added to a tensor and the sum; no vector and the tensor itself if there is none."""
    uses = index.uses.get(tensor, ())
    reader = index.nodes[uses[0].node_index] if len(uses) == 1 else None
    if reader is None or reader.op_type != "Add":
        return "", tensor
    other = next((name for name in reader.input if name != tensor), "")
    dims = list(index.constants[other].dims) if other in index.constants else []
    return (other, reader.output[0]) if dims and dims[-1] == count == int(np.prod(dims)) else ("", tensor)
