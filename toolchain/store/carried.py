"""Latencies that were brought along: an exported store answers instead of timing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from toolchain.errors import DataError, EnvironmentMissing
from toolchain.store.entry import Entry
from toolchain.store.json_lines import read_lines
from toolchain.store.signature import OpSignature
from toolchain.targets.engine import Identity


class Latencies(Protocol):
    """What is asked before anything is timed, and told after."""

    def get(self, identity: Identity, signature: OpSignature) -> Entry | None:
        """Return what is known of `signature` on `identity`; None where that is to be timed."""

    def put(self, entry: Entry) -> None:
        """Add what was timed."""


@dataclass(frozen=True)
class Origin:
    """Where and when the latencies that were used had been measured."""

    path: str
    identity: Identity
    entries: int
    oldest: datetime
    newest: datetime


@dataclass(frozen=True, eq=False)
class CarriedLatencies:
    """The latencies of one machine in a file; what is missing may be timed only where they are this machine's."""

    path: Path
    identity: Identity
    entries: Mapping[OpSignature, Entry]
    own: Latencies | None
    """Answers and keeps what the file does not know, where it may be timed here."""
    _used: dict[OpSignature, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, here: Identity, own: Latencies) -> CarriedLatencies:
        """Read a file of `prunec store export`; of several machines of the target this one is preferred.

        Raises DataError where it cannot be read or leaves the choice between machines, EnvironmentMissing where it
        holds nothing for the target.
        """
        entries = read_lines(path)
        identities = {entry.latency.identity for entry in entries if entry.latency.identity.target == here.target}
        if not identities:
            raise EnvironmentMissing(f"{path} holds no latencies for target {here.target}", hint="export others")
        if here not in identities and len(identities) > 1:
            listed = "; ".join(sorted(f"{item.device}, {item.runtime}" for item in identities))
            what = f"{path} holds latencies of {len(identities)} machines for target {here.target} ({listed})"
            raise DataError(what, hint="export those of one")
        identity = here if here in identities else next(iter(identities))
        chosen = {entry.signature: entry for entry in entries if entry.latency.identity == identity}
        return cls(path, identity, chosen, own if identity == here else None)

    @property
    def origin(self) -> Origin | None:
        """Where and when what was used had been measured; None before anything was."""
        dates = [entry.created_at for entry in self._used.values()]
        return Origin(str(self.path), self.identity, len(dates), min(dates), max(dates)) if dates else None

    def get(self, identity: Identity, signature: OpSignature) -> Entry | None:
        """Return the file's latency. Raises EnvironmentMissing where there is none and this is another machine."""
        if signature in self.entries:
            self._used[signature] = self.entries[signature]
            return self.entries[signature]
        self.require([signature])
        return self.own.get(identity, signature) if self.own else None

    def put(self, entry: Entry) -> None:
        """Keep what was timed here."""
        if self.own:
            self.own.put(entry)

    def require(self, signatures: Iterable[OpSignature]) -> None:
        """Raise EnvironmentMissing where some of these are not known and must not be timed here."""
        wanted = dict.fromkeys(signatures)
        missing = [signature for signature in wanted if signature not in self.entries]
        if missing and self.own is None:
            raise EnvironmentMissing(
                f"{self.path}: {len(missing)} of {len(wanted)} latencies are missing, such as that of {missing[0]}; "
                f"they were measured on {self.identity.device}, {self.identity.runtime}, so they cannot be timed here",
                hint="compile there, and export its store again",
            )
