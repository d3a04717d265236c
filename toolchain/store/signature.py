"""What is timed: one op with what the target fuses to it, at one size."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter


@dataclass(frozen=True)
class OpSignature:
    """Everything but the weights' values that an op's latency on a given target depends on.

    Widths count channels (of a Gemm: features). Tuples are in ONNX's order and empty where the op has no such
    attribute: `spatial_size` is that of the input, `pads` are all begins, then all ends. `data_type` is ONNX's name,
    such as "FLOAT16". `fused_ops` are the op types that run in the same kernel, in the graph's order.
    """

    op_type: str
    input_width: int
    output_width: int
    batch: int
    data_type: str
    spatial_size: tuple[int, ...] = ()
    kernel_shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    group: int = 1
    fused_ops: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return this signature as JSON: one text for one signature."""
        return _ADAPTER.dump_json(self).decode()

    def __str__(self) -> str:
        """Return it for people: `Conv+Relu 3x3 64 to 128, 1x28x28, FLOAT`."""
        kernel = f" {_sizes(self.kernel_shape)}" if self.kernel_shape else ""
        steps = f", strides {_sizes(self.strides)}" if set(self.strides) - {1} else ""
        holes = f", dilations {_sizes(self.dilations)}" if set(self.dilations) - {1} else ""
        groups = f", group {self.group}" if self.group > 1 else ""
        return (
            f"{'+'.join((self.op_type, *self.fused_ops))}{kernel} {self.input_width} to {self.output_width}"
            f"{steps}{holes}{groups}, {_sizes((self.batch, *self.spatial_size))}, {self.data_type}"
        )


def _sizes(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))


_ADAPTER = TypeAdapter(OpSignature)
