"""Padding: ONNX states it before and after each axis, or by `auto_pad`; PyTorch counts pairs from the last axis."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.emit.torch_module.emitter import EmitterView


def pad_call(
    source: str, before: Sequence[int], after: Sequence[int], *, mode: str = "constant", value: str = ""
) -> str:
    """Write F.pad around an expression; leading axes that are not padded are left out."""
    pairs = list(zip(before, after, strict=True))
    while pairs and pairs[0] == (0, 0):
        pairs.pop(0)
    if not pairs:
        return source
    amounts = ", ".join(f"{first}, {last}" for first, last in reversed(pairs))
    options = f', mode="{mode}"' if mode != "constant" else f", value={value}" if value else ""
    return f"F.pad({source}, ({amounts}){options})"


def pads_of(view: EmitterView) -> tuple[list[int], list[int]]:
    """Return a window op's padding before and after each spatial axis."""
    kernel = view.ints_attribute("kernel_shape") or [size or 1 for size in view.shape(1)[2:]]
    automatic = view.text_attribute("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        given = view.ints_attribute("pads") or [0] * (2 * len(kernel))
        return given[: len(kernel)], given[len(kernel) :]
    if automatic == "VALID":
        return [0] * len(kernel), [0] * len(kernel)
    totals = [_total(view, axis, size) for axis, size in enumerate(kernel)]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (small, large) if automatic == "SAME_UPPER" else (large, small)


def _total(view: EmitterView, axis: int, kernel: int) -> int:
    """Pad so that the output has ceil(input / stride) positions (input * stride where transposed)."""
    stride = (view.ints_attribute("strides") or [1] * (axis + 1))[axis]
    reach = (view.ints_attribute("dilations") or [1] * (axis + 1))[axis] * (kernel - 1) + 1
    if stride == 1:
        return reach - 1
    if view.node.op_type == "ConvTranspose":
        return max(reach - stride, 0)
    size = view.shape(0)[2 + axis]
    if size is None:
        raise view.error(f"its auto_pad follows the input's size along axis {2 + axis}")
    return max((-(-size // stride) - 1) * stride + reach - size, 0)
