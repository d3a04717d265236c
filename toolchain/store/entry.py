"""One line of the store: a latency, what was timed, when, and by which version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime, TypeAdapter

from toolchain import __version__
from toolchain.measure.latency import Latency
from toolchain.store.signature import OpSignature
from toolchain.targets.engine import Identity


@dataclass(frozen=True)
class Entry:
    """A latency with its signature; the identity is the latency's."""

    signature: OpSignature
    latency: Latency
    created_at: AwareDatetime
    tool_version: str

    @classmethod
    def now(cls, signature: OpSignature, latency: Latency) -> Entry:
        """Return the entry of a latency that was just measured."""
        return cls(signature, latency, datetime.now(UTC), __version__)

    @property
    def key(self) -> str:
        """The address of this entry."""
        return key_of(self.latency.identity, self.signature)

    @property
    def timestamp(self) -> str:
        """The time of creation as text that sorts by time: UTC, ISO 8601, microseconds."""
        return self.created_at.astimezone(UTC).isoformat(timespec="microseconds")

    def answers(self, identity: Identity, signature: OpSignature) -> bool:
        """Say whether this is the latency of `signature` on `identity`, field by field."""
        return (self.latency.identity, self.signature) == (identity, signature)

    def to_json(self) -> str:
        """Return this entry as one line of JSON."""
        return _ADAPTER.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> Entry:
        """Return the entry written by `to_json`. Raises pydantic's ValidationError for any other text."""
        return _ADAPTER.validate_json(text)


def key_of(identity: Identity, signature: OpSignature) -> str:
    """Return the SHA-256 of what was timed and where."""
    return hashlib.sha256(f"{identity.key()} {signature.to_json()}".encode()).hexdigest()


_ADAPTER = TypeAdapter(Entry)
