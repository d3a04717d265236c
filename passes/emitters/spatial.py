"""Pooling, resizing, sampling: ops that work on positions.

(https://onnx.ai/onnx/operators/, *Pool, Resize, Upsample, GridSample)
"""

from __future__ import annotations

from math import prod

import numpy as np

from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, plain, same_or_tuple
from toolchain.emit.torch_module.padding import pad_call, pads_of


class Pooling(Emitter):
    """Write pooling over windows; what PyTorch's own padding cannot say goes into an F.pad."""

    ops = frozenset({"AveragePool", "LpPool", "MaxPool"})

    def emit(self, view: EmitterView) -> Emitted:
        """Dispatch on the op."""
        kernel = view.ints_attribute("kernel_shape") or []
        if not 1 <= len(kernel) <= 3:
            raise view.error(f"it has {len(kernel)} spatial axes")
        before, after = pads_of(view)
        symmetric = before == after and all(2 * p <= k for p, k in zip(before, kernel, strict=True))
        if view.node.op_type == "MaxPool":
            return plain(_max(view, kernel, before, after, symmetric))
        if any(item != 1 for item in view.ints_attribute("dilations") or []):
            raise view.error("it averages over dilated windows")
        if view.node.op_type == "LpPool":
            return plain(_power(view, kernel, before, after))
        return plain(_average(view, kernel, before, after, symmetric))


def _arguments(view: EmitterView, kernel: list[int], padding: list[int]) -> str:
    strides = view.ints_attribute("strides") or [1] * len(kernel)
    text = str(same_or_tuple(kernel))
    if strides != kernel:
        text += f", stride={same_or_tuple(strides)}"
    if any(padding):
        text += f", padding={same_or_tuple(padding)}"
    return text + (", ceil_mode=True" if view.int_attribute("ceil_mode", 0) else "")


def _max(view: EmitterView, kernel: list[int], before: list[int], after: list[int], symmetric: bool) -> str:
    none = [0] * len(kernel)
    source = "{0}" if symmetric else pad_call("{0}", before, after, value='float("-inf")')
    text = _arguments(view, kernel, before if symmetric else none)
    dilations = view.ints_attribute("dilations") or [1]
    if any(item != 1 for item in dilations):
        text += f", dilation={same_or_tuple(dilations)}"
    return f"F.max_pool{len(kernel)}d({source}, {text})"


def _average(view: EmitterView, kernel: list[int], before: list[int], after: list[int], symmetric: bool) -> str:
    """Divide by the number of elements in the window: padding counts only where the node says so."""
    function = f"F.avg_pool{len(kernel)}d"
    counted = bool(view.int_attribute("count_include_pad", 0))
    if symmetric:
        text = _arguments(view, kernel, before)
        return f"{function}({{0}}, {text}{'' if counted or not any(before) else ', count_include_pad=False'})"
    text = _arguments(view, kernel, [0] * len(kernel))
    total = f"{function}({pad_call('{0}', before, after)}, {text})"
    return total if counted else f"{total} / {function}({pad_call('torch.ones_like({0})', before, after)}, {text})"


def _power(view: EmitterView, kernel: list[int], before: list[int], after: list[int]) -> str:
    p, text = view.int_attribute("p", 2), _arguments(view, kernel, [0] * len(kernel))
    powers = pad_call(f"{{0}}.abs().pow({p})", before, after) if any((*before, *after)) else f"{{0}}.abs().pow({p})"
    return f"(F.avg_pool{len(kernel)}d({powers}, {text}) * {prod(kernel)}).pow(1 / {p})"


class GlobalPooling(Emitter):
    """Write pooling over all positions."""

    ops = frozenset({"GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"})

    def emit(self, view: EmitterView) -> Emitted:
        """Use adaptive pooling to one position."""
        rank = len(view.shape(0))
        axes = tuple(range(2, rank))
        if view.node.op_type == "GlobalLpPool":
            return plain(f"torch.linalg.vector_norm({{0}}, {view.int_attribute('p', 2)}, {axes}, keepdim=True)")
        average = view.node.op_type == "GlobalAveragePool"
        if not 3 <= rank <= 5:
            return plain(f"{{0}}.{'mean' if average else 'amax'}({axes}, keepdim=True)")
        return plain(f"F.adaptive_{'avg' if average else 'max'}_pool{rank - 2}d({{0}}, 1)")


LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Resize(Emitter):
    """Write F.interpolate."""

    ops = frozenset({"Resize", "Upsample"})

    def emit(self, view: EmitterView) -> Emitted:
        """Choose PyTorch's mode for ONNX's coordinates, then say the size."""
        if (
            len(view.output_shape()) not in (3, 4, 5)
            or view.ints_attribute("axes")
            or view.text_attribute("keep_aspect_ratio_policy", "stretch") != "stretch"
        ):
            raise view.error("it resizes more than positions, or by a ratio")
        size = _size(view)
        return plain(f"F.interpolate({{0}}, {size}, {_mode(view)})")


def _size(view: EmitterView) -> str:
    scales = _scales(view)
    if scales is not None:
        if scales[:2] != [1.0, 1.0]:
            raise view.error("it resizes batch or channels")
        spatial = scales[2:]
        return f"scale_factor={spatial[0] if len(set(spatial)) == 1 else tuple(spatial)}"
    shape = view.sizes.shape_text(view.node.output[0], view.name(0))
    if shape is None or "-1" in shape:
        return "size={3}[2:].tolist()"
    return f"size=({', '.join(shape[2:])}{',' if len(shape) == 3 else ''})"


def _scales(view: EmitterView) -> list[float] | None:
    if view.node.op_type == "Upsample" and not view.has(1):
        return next((list(item.floats) for item in view.node.attribute if item.name == "scales"), None)
    values = view.value(1 if view.node.op_type == "Upsample" or view.index.opset < 11 else 2)
    return None if values is None or not values.size else [float(str(item)) for item in values]


def _mode(view: EmitterView) -> str:
    mode = view.text_attribute("mode", "nearest")
    asymmetric = view.node.op_type == "Upsample" or view.index.opset < 11
    coordinates = view.text_attribute("coordinate_transformation_mode", "asymmetric" if asymmetric else "half_pixel")
    if mode == "nearest":
        return f'mode="{_nearest(view, coordinates, "floor" if asymmetric else "round_prefer_floor")}"'
    if coordinates not in ("align_corners", "half_pixel", "pytorch_half_pixel"):
        raise view.error(f"PyTorch has no {mode} interpolation with {coordinates} coordinates")
    if mode == "cubic" and (
        view.float_attribute("cubic_coeff_a", -0.75) != -0.75
        or len(view.shape(0)) != 4
        or view.int_attribute("exclude_outside", 0)
    ):
        raise view.error("PyTorch has no such cubic interpolation")
    name = "bicubic" if mode == "cubic" else LINEAR[len(view.shape(0)) - 2]
    corners = ", align_corners=True" if coordinates == "align_corners" else ""
    return f'mode="{name}"{corners}{", antialias=True" if view.int_attribute("antialias", 0) else ""}'


def _nearest(view: EmitterView, coordinates: str, default_rounding: str) -> str:
    """Name the mode that reads the same positions: floor of asymmetric coordinates, or the nearest pixel centre."""
    rounding = view.text_attribute("nearest_mode", default_rounding)
    if coordinates == "asymmetric" and (rounding == "floor" or _doubles(view)):
        return "nearest"
    if coordinates in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round"):
        return "nearest-exact"
    raise view.error(f"PyTorch has no nearest interpolation with {coordinates} coordinates and {rounding}")


def _doubles(view: EmitterView) -> bool:
    """Tell whether positions are only doubled, where rounding a half down is the floor."""
    scales = _scales(view)
    down = view.text_attribute("nearest_mode", "round_prefer_floor") == "round_prefer_floor"
    return down and scales is not None and set(np.array(scales).tolist()) <= {1.0, 2.0}


class GridSample(Emitter):
    """Write F.grid_sample."""

    ops = frozenset({"GridSample"})

    def emit(self, view: EmitterView) -> Emitted:
        """Translate the names of the modes."""
        modes = {"linear": "bilinear", "cubic": "bicubic"}
        given = view.text_attribute("mode", "bilinear")
        mode, border = modes.get(given, given), view.text_attribute("padding_mode", "zeros")
        corners = bool(view.int_attribute("align_corners", 0))
        return plain(f'F.grid_sample({{0}}, {{1}}, mode="{mode}", padding_mode="{border}", align_corners={corners})')
