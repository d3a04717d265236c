"""Registries filled by a folder scan: adding a rule, criterion, strategy, target or pass is adding a file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def scan(package: str, base: type[T]) -> list[type[T]]:
    """Import every module of a package and return the concrete subclasses of `base` it defines, by module name."""
    root = importlib.import_module(package)
    found: list[type[T]] = []
    for name in sorted(module.name for module in pkgutil.iter_modules(root.__path__)):
        found.extend(_defined_in(importlib.import_module(f"{package}.{name}"), base))
    return found


def by_name(package: str, base: type[T]) -> dict[str, type[T]]:
    """Return the concrete subclasses of `base` in a package, keyed by their file's name in kebab case."""
    return {item.__module__.rpartition(".")[2].replace("_", "-"): item for item in scan(package, base)}


def _defined_in(module: ModuleType, base: type[T]) -> list[type[T]]:
    classes = [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == module.__name__]
    return [item for item in classes if issubclass(item, base) and not inspect.isabstract(item)]
