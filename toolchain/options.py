"""Options as text: `name=value` pairs into the typed fields of a frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from toolchain.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """One option of a pass, target or strategy, for listings."""

    name: str
    type: str
    default: str


def parse_pairs(text: str, what: str) -> dict[str, str]:
    """Split `"a=1,b=x"` into pairs. Raises UsageError for an item without `=`, or one given twice."""
    given: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise UsageError(f"{what}: '{item}' is not an option", hint="write option=value")
        if name in given:
            raise UsageError(f"{what}: option '{name}' is given twice", hint="give it once")
        given[name] = value
    return given


def make(cls: type[T], given: Mapping[str, Any], what: str) -> T:
    """Build a dataclass from options, values converted to the fields' types.

    Raises UsageError for an unknown name or a value of the wrong type.
    """
    known = [option.name for option in list_options(cls)]
    for name in given:
        if name not in known:
            listing = f"options are {', '.join(known)}" if known else "it has no options"
            raise UsageError(f"{what} has no option '{name}'", hint=listing)
    try:
        return TypeAdapter(cls).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        message = first["msg"][0].lower() + first["msg"][1:]
        raise UsageError(f"{what}: {name}={given.get(name)}", hint=message) from None


def list_options(cls: type[Any]) -> Sequence[Option]:
    """Return the options of a dataclass: its fields."""
    return [
        Option(item.name, str(item.type), "" if item.default is MISSING else str(item.default))
        for item in fields(cls)
        if item.init
    ]
