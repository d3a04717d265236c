"""What a compile has measured so far, so that one that was killed goes on where it was.

An append-only file, one JSON line for each measurement, flushed to the disk before it is used. A line that a crash
left half written is dropped with everything after it. Keys are hashes of content: of both engines' models, the inputs,
the target's identity, and the protocol. What was measured under another key is never taken for it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self, TypeVar

from pydantic import TypeAdapter, ValidationError


class Measurement(Protocol):
    """What can be written down."""

    def to_json(self) -> str:
        """Return it as JSON."""

    @staticmethod
    def from_json(text: str) -> Measurement:
        """Return what `to_json` wrote."""


Measured = TypeVar("Measured", bound=Measurement)

_LINE = TypeAdapter(tuple[str, str])


class Journal:
    """Measurements by key; `reused` counts those of an earlier run that were not made again."""

    def __init__(self, path: Path | None) -> None:
        """Read what is there; None keeps nothing."""
        self._path = path
        self._found = _read(path) if path else {}
        self._earlier = frozenset(self._found)
        self._reused: set[str] = set()

    @classmethod
    def at(cls, folder: Path, *parts: str) -> Self:
        """Open the journal of a compile that these texts identify."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / f"{key_of(*parts)}.jsonl")

    @property
    def reused(self) -> int:
        """How many measurements of an earlier run were taken."""
        return len(self._reused)

    def remember(self, key: str, kind: type[Measured], make: Callable[[], Measured]) -> Measured:
        """Return the measurement of this key; make and write it down if it is not there."""
        if key in self._found:
            self._reused |= {key} & self._earlier
            return kind.from_json(self._found[key])  # type: ignore[return-value]
        measured = make()
        self._found[key] = measured.to_json()
        if self._path:
            _append(self._path, _LINE.dump_json((key, self._found[key])) + b"\n")
        return measured

    def close(self) -> None:
        """Remove the file: the compile came to its end."""
        if self._path:
            self._path.unlink(missing_ok=True)


def key_of(*parts: str) -> str:
    """Return the SHA-256 of texts in order."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(path: Path) -> dict[str, str]:
    """Return the lines up to the first broken one, and cut the file there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    found, whole = {}, 0
    for line in content.splitlines(keepends=True):
        try:
            key, text = _LINE.validate_json(line)
        except ValidationError:
            break
        if not line.endswith(b"\n"):
            break
        found[key] = text
        whole += len(line)
    if whole < len(content):
        os.truncate(path, whole)
    return found


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
