"""The files of a bundle against its papers, before any of them is deserialised.

1. Regular files and folders only: a link could lead out of the bundle, a device could hang its reader.
2. SHA256SUMS lists exactly the files that are there, each with its hash, in the one way of writing it.
3. manifest.json is of a schema that is known here and lists the same files with the same hashes.

This finds damage and mix-ups. Who rewrites files, manifest and sums alike is found out by the hash of SHA256SUMS
alone, kept elsewhere.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from toolchain.emit.bundle import CHECKSUMS, MANIFEST, checksum_text
from toolchain.emit.manifest import SCHEMA_VERSION, Manifest
from toolchain.errors import BundleError, UsageError
from toolchain.graph.hashing import file_sha256

LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<path>.+)")
LARGEST_CHECKSUMS_BYTES = 1 << 20
LARGEST_MANIFEST_BYTES = 1 << 30


class _Header(BaseModel):
    """The part of any manifest, however new, that says how to read the rest."""

    schema_version: int


def check_contents(folder: Path) -> Manifest:
    """Return the manifest of a bundle whose files are what it says; opens nothing else but to hash it.

    Raises UsageError where there is no folder, BundleError where anything is not as written down.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", hint="give a bundle, the folder that `prunec compile -o` wrote")
    sums = _check_sums(folder)
    manifest = _read_manifest(folder)
    listed = {item.path: item.sha256 for item in manifest.files} | {MANIFEST: sums[MANIFEST]}
    _compare(listed, sums, MANIFEST)
    return manifest


def _check_sums(folder: Path) -> Mapping[str, str]:
    files = {path.relative_to(folder).as_posix(): path for path in sorted(_regular_files(folder))}
    for name in (CHECKSUMS, MANIFEST):
        if name not in files:
            raise BundleError(f"{name} is missing", hint="this is not a whole bundle; compile again")
    text = _read_small(files.pop(CHECKSUMS))
    found = {name: file_sha256(path) for name, path in files.items()}
    _compare(_parse_sums(text), found, CHECKSUMS)
    if text != checksum_text(found):
        raise BundleError(f"{CHECKSUMS} is not written as this tool writes it", hint="restore the bundle from a copy")
    return found


def _regular_files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from _regular_files(path)
        elif stat.S_ISREG(mode):
            yield path
        else:
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
            raise BundleError(f"{path.relative_to(folder)} is {kind}", hint="a bundle holds plain files only")


def _read_small(path: Path) -> str:
    if path.stat().st_size > LARGEST_CHECKSUMS_BYTES:
        raise BundleError(f"{path.name} is larger than {LARGEST_CHECKSUMS_BYTES} bytes")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise BundleError(f"{path.name} is not text", hint="restore the bundle from a copy") from None


def _parse_sums(text: str) -> Mapping[str, str]:
    sums = {}
    for number, line in enumerate(text.split("\n")[:-1], 1):
        match = LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"{CHECKSUMS}: line {number} is not a hash and a path")
        sums[match["path"]] = match["sha256"]
    return sums


def _compare(listed: Mapping[str, str], found: Mapping[str, str], where: str) -> None:
    """Hold what is listed against what is there, and name the first file that differs."""
    hint = "the bundle was changed after it was written: restore it from a copy, or compile again"
    if missing := sorted(listed.keys() - found.keys()):
        raise BundleError(f"{missing[0]} is listed in {where}, but is not there", hint=hint)
    if extra := sorted(found.keys() - listed.keys()):
        raise BundleError(f"{extra[0]} is there, but is not listed in {where}", hint=hint)
    if changed := [name for name in listed if listed[name] != found[name]]:
        raise BundleError(f"{changed[0]} does not have the hash that {where} lists", hint=hint)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if path.stat().st_size > LARGEST_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST} is larger than {LARGEST_MANIFEST_BYTES} bytes")
    content = path.read_bytes()
    try:
        version = _Header.model_validate_json(content).schema_version
        if version > SCHEMA_VERSION:
            raise BundleError(
                f"{MANIFEST} is of schema {version}; this version of prunec knows schemas up to {SCHEMA_VERSION}",
                hint="update prunec",
            )
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(item) for item in first["loc"]) or "the file"
        raise BundleError(f"{MANIFEST} cannot be read: {place}: {first['msg']}", hint="compile again") from None
