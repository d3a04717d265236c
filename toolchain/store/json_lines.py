"""Stores as text, to be carried to other machines: a header line, then one entry a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from toolchain.errors import DataError, EnvironmentMissing
from toolchain.store.network_entry import Stored, read_stored

SCHEMA = 2
"""The version of the header and of the entries; networks came with 2."""


@dataclass(frozen=True)
class _Header:
    format: Literal["prunec latencies"]
    schema: int


_HEADER = TypeAdapter(_Header)


def to_lines(entries: Iterable[Stored]) -> Iterator[str]:
    """Yield the lines of a file, without line ends."""
    yield _HEADER.dump_json(_Header("prunec latencies", SCHEMA)).decode()
    for entry in entries:
        yield entry.to_json()


def read_lines(path: Path) -> list[Stored]:
    """Return the entries of a file.

    Raises DataError where it cannot be read, EnvironmentMissing where a newer version wrote it.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            header, *lines = stream.readlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    _check_header(header, path)
    return [_entry(line, path, number) for number, line in enumerate(lines, start=2)]


def _check_header(line: str, path: Path) -> None:
    try:
        header = _HEADER.validate_json(line)
    except ValidationError:
        what = f"{path} is not an exported latency store"
        raise DataError(what, hint="write it with `prunec store export`") from None
    if header.schema > SCHEMA:
        what = f"{path} was written by a newer prunec (schema {header.schema}, this one knows {SCHEMA})"
        raise EnvironmentMissing(what, hint="update prunec")


def _entry(line: str, path: Path, number: int) -> Stored:
    try:
        return read_stored(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:]))
        raise DataError(f"{path}, line {number}: {where + ': ' if where else ''}{first['msg']}") from None
