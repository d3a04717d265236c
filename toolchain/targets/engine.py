"""Engines on disk: what they were built for and from, found again by content, whole or absent."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

_DESCRIPTOR = "descriptor.json"
_BUILDS = "builds.json"
_BESIDE = (_DESCRIPTOR, _BUILDS)
_MILLISECONDS = TypeAdapter(tuple[float, ...])

NO_DEVICE = "no GPU here"
"""The device of an engine that was built where there is none: only loading it tells where it runs."""


@dataclass(frozen=True)
class Identity:
    """Everything a latency depends on besides the model: latencies compare only if their identities agree.

    `precision` is "as in the model" where the graph's own types decide.
    """

    target: str
    device: str
    runtime: str
    precision: str
    options: tuple[tuple[str, str], ...] = ()
    driver: str = ""

    def key(self) -> str:
        """Return the SHA-256 (64 hexadecimal digits) of the canonical JSON of this identity."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def difference(self, here: "Identity") -> str:
        """Name the first field in which this machine differs from what an engine was built for; empty where none."""
        open_fields = {"device", "driver"} if self.device == NO_DEVICE else set()
        for name in (item.name for item in fields(self) if item.name not in open_fields):
            built_for, found = getattr(self, name), getattr(here, name)
            if built_for != found:
                return f"its {name} is '{built_for}', here it is '{found}'"
        return ""


@dataclass(frozen=True)
class Engine:
    """An engine on disk: the main file at `path` and, for large models, weight files beside it.

    `sha256` covers the content of all its files in the order of their names, so that for a single file it is
    that file's own checksum. `model_sha256` is the content hash of the model it was built from.
    """

    path: Path
    identity: Identity
    sha256: str
    model_sha256: str

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that have to be shipped for this engine, the main file among them."""
        return tuple(_content(self.path.parent))

    @property
    def builds_ms(self) -> tuple[float, ...]:
        """The median latency of each build that this engine was chosen from; nothing where it is the only one."""
        try:
            return _MILLISECONDS.validate_json((self.path.parent / _BUILDS).read_bytes())
        except (OSError, ValidationError):
            return ()


_ADAPTER = TypeAdapter(Engine)


def folder_name(source_sha256: str, identity: Identity) -> str:
    """Return the name of an engine's folder: the full hash of the model's and the identity's."""
    return hashlib.sha256(f"{source_sha256} {identity.key()}".encode()).hexdigest()


def seal(path: Path, identity: Identity, source_sha256: str) -> Engine:
    """Describe the engine just written to `path`, in a file beside it.

    Nothing is flushed to the disk: whoever finds the engine compares its content with the description, and what is
    shipped is flushed when it is shipped.
    """
    engine = Engine(path, identity, content_sha256(path.parent), source_sha256)
    named = replace(engine, path=Path(path.name))
    (path.parent / _DESCRIPTOR).write_bytes(_ADAPTER.dump_json(named))
    return engine


def note_builds(path: Path, medians_ms: tuple[float, ...]) -> None:
    """Write down which builds the engine at `path` was chosen from; the note is not part of the engine."""
    (path.parent / _BUILDS).write_bytes(_MILLISECONDS.dump_json(medians_ms))


def find(path: Path, identity: Identity, source_sha256: str) -> Engine | None:
    """Return the engine at `path` if it was built for and from what is wanted and its files are intact."""
    try:
        found = _ADAPTER.validate_json((path.parent / _DESCRIPTOR).read_bytes())
    except (OSError, ValidationError):
        return None
    wanted = Engine(Path(path.name), identity, content_sha256(path.parent), source_sha256)
    return replace(wanted, path=path) if found == wanted else None


def _content(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.iterdir()) if file.name not in _BESIDE)


def content_sha256(folder: Path) -> str:
    """Return the hash of all files of an engine's folder, what describes it left out, in the order of their names."""
    digest = hashlib.sha256()
    for file in _content(folder):
        with file.open("rb") as handle:
            while chunk := handle.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
