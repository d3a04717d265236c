"""`prunec passes`: what can be used, with options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolchain.cli.compose import load_passes
from toolchain.cli.terminal import Terminal
from toolchain.criterion import Criterion
from toolchain.options import list_options
from toolchain.registry import by_name
from toolchain.strategies.contract import Strategy
from toolchain.targets.contract import Target


def list_passes() -> None:
    """List passes, strategies, criteria and targets with their options and defaults."""
    terminal = Terminal()
    kinds: list[tuple[str, Mapping[str, type[Any]]]] = [
        ("passes", load_passes()),
        ("strategies", by_name("toolchain.strategies", Strategy)),
        ("criteria", by_name("passes.criteria", Criterion)),
        ("targets", by_name("toolchain.targets", Target)),
    ]
    for kind, classes in kinds:
        rows = [(name, _summary(item), _options(item)) for name, item in classes.items()]
        terminal.table((kind, "what it does", "options"), rows)


def _summary(item: type[Any]) -> str:
    return (item.__doc__ or "").strip().splitlines()[0]


def _options(item: type[Any]) -> str:
    return "\n".join(f"{option.name}={option.default}" for option in list_options(item))
