"""The composition root: brings the packages `passes` and `toolchain` together by name."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.graph.analysis import rule_table
from toolchain.graph.rule import Rule
from toolchain.pipeline.contract import Pass
from toolchain.registry import scan


def load_rules() -> Mapping[str, Rule]:
    """Return the op rules."""
    return rule_table(scan("passes.rules", Rule))  # type: ignore[type-abstract]


def load_passes() -> Mapping[str, type[Pass]]:
    """Return the passes by name."""
    return {item.name(): item for item in scan("passes", Pass)}  # type: ignore[type-abstract]
