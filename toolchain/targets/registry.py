"""Targets by name: a folder scan, and options as text."""

from collections.abc import Mapping
from functools import cache

from toolchain.errors import EnvironmentMissing, UsageError
from toolchain.options import make, parse_pairs
from toolchain.registry import by_name
from toolchain.targets.contract import Target

AUTO = "auto"


def names() -> tuple[str, ...]:
    """Return the names of all targets, `auto` not among them."""
    return tuple(_classes())


def engine_suffixes() -> Mapping[str, tuple[str, ...]]:
    """Return the suffixes of engine files, each with the names of the targets that write it."""
    found: dict[str, tuple[str, ...]] = {}
    for name, cls in _classes().items():
        found[cls.engine_suffix] = (*found.get(cls.engine_suffix, ()), name)
    return found


def create(name: str = AUTO, options_text: str = "", *, for_building: bool = False) -> Target:
    """Return the target `name` with options such as `"threads=1,spinning=false"`.

    `auto` is the first available target in the order of `auto_rank`. A target that is only built for need not be
    able to run here.

    Raises UsageError for a name, an option or a value that does not exist, and EnvironmentMissing where the
    target cannot be used on this machine.
    """
    if name == AUTO:
        name = _best_available()
    if name not in _classes():
        raise UsageError(f"there is no target '{name}'", hint=f"targets are {', '.join((AUTO, *names()))}")
    what = f"target {name}"
    target = make(_classes()[name], parse_pairs(options_text, what), what)
    availability = target.can_build() if for_building else target.availability()
    if not availability.ok:
        raise EnvironmentMissing(f"{what}: {availability.reason}", hint=availability.hint)
    return target


@cache
def _classes() -> dict[str, type[Target]]:
    return by_name("toolchain.targets", Target)  # type: ignore[type-abstract]


def _best_available() -> str:
    ranked = [(cls.auto_rank, name) for name, cls in _classes().items() if cls.auto_rank is not None]
    for _, name in sorted(ranked):
        if _classes()[name]().availability().ok:
            return name
    raise EnvironmentMissing("no target can be used on this machine", hint="install onnxruntime")
