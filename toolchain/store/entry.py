"""One line of the store: a latency, what was timed, when, by which version, and how busy the machine was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, TypeAdapter

from toolchain import __version__
from toolchain.measure.latency import Latency
from toolchain.measure.machine_load import waiting_share
from toolchain.store.signature import OpSignature
from toolchain.targets.engine import Identity

BUSY = 0.1
"""The share of time in which processes waited, from which on a latency may be timed again."""
CALMER = 0.5
"""How much less they have to wait now."""
SETTLED = timedelta(hours=1)
"""For so long an entry is believed in any case: what one run timed, the next finds."""


class Dated:
    """What was measured at some moment, on a machine that was more or less busy."""

    created_at: AwareDatetime
    waiting_share: float | None

    @property
    def timestamp(self) -> str:
        """The time of creation as text that sorts by time: UTC, ISO 8601, microseconds."""
        return self.created_at.astimezone(UTC).isoformat(timespec="microseconds")

    def is_outdone(self, waiting_now: float | None, now: datetime) -> bool:
        """Say whether a timing today would be better: it was taken on a busy machine that is calm now.

        Each time one is replaced, the share falls to half at most, so that this comes to an end.
        """
        if self.waiting_share is None or waiting_now is None or now - self.created_at < SETTLED:
            return False
        return self.waiting_share > BUSY and waiting_now < CALMER * self.waiting_share


@dataclass(frozen=True)
class Entry(Dated):
    """A latency with its signature; the identity is the latency's."""

    signature: OpSignature
    latency: Latency
    created_at: AwareDatetime
    tool_version: str
    waiting_share: float | None = None
    """The share of time in which processes waited for a processor just then; None where that is not known."""

    @classmethod
    def now(cls, signature: OpSignature, latency: Latency) -> Entry:
        """Return the entry of a latency that was just measured."""
        return cls(signature, latency, datetime.now(UTC), __version__, waiting_share() if latency.measured else None)

    @property
    def identity(self) -> Identity:
        """That of the latency."""
        return self.latency.identity

    @property
    def key(self) -> str:
        """The address of this entry."""
        return key_of(self.identity, self.signature)

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
