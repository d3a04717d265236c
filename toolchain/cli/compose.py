"""The composition root: brings the packages `passes` and `toolchain` together by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import onnx

from toolchain.emit.torch_module.emitter import Emitter, emitter_table
from toolchain.graph.analysis import rule_table
from toolchain.graph.rule import Rule
from toolchain.pipeline.contract import Pass
from toolchain.registry import scan


def load_rules() -> Mapping[str, Rule]:
    """Return the op rules."""
    return rule_table(scan("passes.rules", Rule))  # type: ignore[type-abstract]


def load_emitters() -> Mapping[str, Emitter]:
    """Return the emitters, by which ops are said in PyTorch."""
    return emitter_table(scan("passes.emitters", Emitter))  # type: ignore[type-abstract]


def load_passes() -> Mapping[str, type[Pass]]:
    """Return the passes by name."""
    return {item.name(): item for item in scan("passes", Pass)}  # type: ignore[type-abstract]


def can_fold(model: onnx.ModelProto) -> bool:
    """Tell whether there may be anything to fold in a normalised model."""
    found: bool = import_module("passes.fold_constants").has_work(model.graph)
    return found


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute what does not depend on the input, which every preset does first."""
    folded: onnx.ModelProto = import_module("passes.fold_constants").fold_constants(model)
    return folded
