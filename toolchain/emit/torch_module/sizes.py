"""Which sizes are fixed and which follow the input, found by comparing facts under two bindings of the symbols.

A number that is the same under both is written as it is. One that differs is looked up among the sizes of the
tensor at hand (`x.shape[0]`, or a multiple or fraction of it), so that no batch or image size is baked in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from toolchain.graph.facts import Array, Fact, bind_symbols, infer_facts
from toolchain.graph.index import GraphIndex

SAME_AS_INPUT = -1
"""What Reshape calls the one size that follows from the others."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """The facts of a graph under each binding."""

    variants: tuple[Mapping[str, Fact], ...]

    @classmethod
    def of(cls, index: GraphIndex) -> Sizes:
        """Infer the facts twice, with other numbers for the symbols."""
        model = index.model
        return cls(tuple(infer_facts(index, bind_symbols(model, variant=variant)) for variant in (0, 1)))

    def dtype(self, name: str) -> int:
        """Return a tensor's ONNX element type."""
        fact = self.variants[0].get(name)
        return onnx.TensorProto.UNDEFINED if fact is None else fact.dtype

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Return a tensor's shape, None for the sizes that follow the input; None where the rank is unknown."""
        shapes = self._shapes(name)
        if shapes is None:
            return None
        return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in shapes)

    def value(self, name: str) -> Array | None:
        """Return a value that is known and the same whatever the input's sizes."""
        first, *others = [facts[name].value if name in facts else None for facts in self.variants]
        if first is None or any(other is None or not np.array_equal(first, other) for other in others):
            return None
        return first

    def entries(self, name: str) -> list[tuple[int, ...]] | None:
        """Return an integer vector's entries, each under all bindings; None where it depends on data."""
        values = [facts[name].value if name in facts else None for facts in self.variants]
        known = [np.atleast_1d(value).astype(np.int64).tolist() for value in values if value is not None]
        return list(zip(*known, strict=True)) if len(known) == len(values) else None

    def shape_text(self, name: str, source: str) -> list[str] | None:
        """Write a tensor's sizes by those of `{0}`, whose name is `source`; at most one is left to follow (-1)."""
        shapes = self._shapes(name)
        if shapes is None:
            return None
        texts = [self.text(sizes, source, axis) for axis, sizes in enumerate(shapes)]
        if texts.count(None) > 1:
            return None
        return [str(SAME_AS_INPUT) if text is None else text for text in texts]

    def text(self, values: Sequence[int], source: str, likely_axis: int) -> str | None:
        """Write one size; None where neither a number nor a size of the source explains it."""
        if len(set(values)) == 1:
            return str(values[0])
        known = dict(enumerate(self._shapes(source) or []))
        for axis in sorted(known, key=lambda axis: axis != likely_axis):
            text = _ratio_text(values, known[axis], f"{{0}}.shape[{axis}]")
            if text:
                return text
        return None

    def _shapes(self, name: str) -> list[tuple[int, ...]] | None:
        shapes = [facts[name].shape if name in facts else None for facts in self.variants]
        known = [shape for shape in shapes if shape is not None]
        return list(zip(*known, strict=True)) if len(known) == len(shapes) else None


def _ratio_text(values: Sequence[int], sizes: Sequence[int], name: str) -> str:
    """Write values as a whole multiple or fraction of sizes that differ between the bindings; empty if they are not."""
    if len(set(sizes)) == 1 or 0 in sizes or 0 in values:
        return ""
    if list(values) == list(sizes):
        return name
    factor, divisor = values[0] // sizes[0], sizes[0] // values[0]
    if all(value == factor * size for value, size in zip(values, sizes, strict=True)):
        return f"{name} * {factor}"
    if all(value * divisor == size for value, size in zip(values, sizes, strict=True)):
        return f"{name} // {divisor}"
    return ""
