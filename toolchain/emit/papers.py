"""The papers of an engine that was built to a file of the user's choice: a JSON file beside it.

    net.engine                   the engine
    net.engine.manifest.json     what it is: where it runs, what it was built from, the hash of each of its files

Loading an engine runs native code, so its hashes are looked at before. They find damage and mix-ups, not a forger.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from toolchain.emit.bundle import replaced
from toolchain.errors import BundleError
from toolchain.graph.hashing import file_sha256
from toolchain.measure.inputs import Input
from toolchain.targets.engine import Engine, Identity

SUFFIX = ".manifest.json"
SCHEMA = 1
AGAIN = "build it again"


@dataclass(frozen=True)
class FileHash:
    """A file beside the papers."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Papers:
    """What an engine is: `sha256` is that of all its files as they were built.

    `inputs` are those it was built for where it takes no others; one that leaves sizes open tells its own.
    """

    schema: int
    identity: Identity
    sha256: str
    model_sha256: str
    files: tuple[FileHash, ...]
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True)
class Placed:
    """An engine as its papers describe it, and the inputs it was built for."""

    engine: Engine
    inputs: tuple[Input, ...]


@dataclass(frozen=True)
class _Header:
    schema: int


_HEADER, _PAPERS = TypeAdapter(_Header), TypeAdapter(Papers)


def papers_of(path: Path) -> Path:
    """Return where the papers of the engine at `path` are."""
    return path.with_name(path.name + SUFFIX)


def place_engine(engine: Engine, output: Path, inputs: tuple[Input, ...] = ()) -> None:
    """Copy an engine to `output`, its papers last; weight files keep their names, which the engine refers to.

    A device or a pipe gets no papers.
    """
    hashes = []
    for source in engine.files:
        destination = output if source.name == engine.path.name else output.parent / source.name
        with replaced(destination) as temporary:
            shutil.copyfile(source, temporary)
        hashes.append(FileHash(destination.name, file_sha256(source)))
    if not output.is_file():
        return
    papers = Papers(SCHEMA, engine.identity, engine.sha256, engine.model_sha256, tuple(hashes), inputs)
    with replaced(papers_of(output)) as temporary:
        temporary.write_bytes(_PAPERS.dump_json(papers, indent=2) + b"\n")


def read_engine(path: Path) -> Placed | None:
    """Return the engine at `path` as its papers describe it; None where it has none. Loads nothing.

    Raises BundleError where its files are not what the papers say, or the papers cannot be read.
    """
    beside = papers_of(path)
    if not beside.is_file():
        return None
    papers = _read(beside)
    if path.name not in {file.name for file in papers.files}:
        raise BundleError(f"{beside} does not list {path.name}", hint=AGAIN)
    for file in papers.files:
        found = path.with_name(file.name) if file.name == Path(file.name).name else None
        if found is None or not found.is_file():
            raise BundleError(f"{beside} lists '{file.name}', which is not beside it", hint=AGAIN)
        if file_sha256(found) != file.sha256:
            raise BundleError(f"{found} does not have the hash that {beside} lists", hint=AGAIN)
    return Placed(Engine(path, papers.identity, papers.sha256, papers.model_sha256), papers.inputs)


def _read(path: Path) -> Papers:
    try:
        content = path.read_bytes()
        schema = _HEADER.validate_json(content).schema
        if schema > SCHEMA:
            what = f"{path} is of schema {schema}; this version of prunec knows schemas up to {SCHEMA}"
            raise BundleError(what, hint="update prunec")
        return _PAPERS.validate_json(content)
    except (OSError, ValidationError):
        raise BundleError(f"{path} cannot be read as an engine's papers", hint=AGAIN) from None
