"""Latencies that were brought along: an exported store answers instead of timing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from toolchain.errors import DataError, EnvironmentMissing
from toolchain.store.entry import Entry
from toolchain.store.json_lines import read_lines
from toolchain.store.network_entry import NetworkEntry, Stored
from toolchain.store.signature import OpSignature
from toolchain.targets.engine import Identity

Known = TypeVar("Known", Entry, NetworkEntry)


class Latencies(Protocol):
    """What is asked before anything is timed, and told after."""

    def get(self, identity: Identity, signature: OpSignature) -> Entry | None:
        """Return what is known of `signature` on `identity`; None where that is to be timed."""

    def network(self, identity: Identity, network: str) -> NetworkEntry | None:
        """Return what is known of a whole network on `identity`; None where that is to be profiled."""

    def put(self, entry: Stored) -> None:
        """Add what was timed."""


@dataclass(frozen=True)
class Origin:
    """Where and when the latencies that were used had been measured; `own` others were timed on this machine.

    `profiled` tells whether what the network's kernels take of the whole came from there too.
    """

    path: str
    identity: Identity
    entries: int
    oldest: datetime
    newest: datetime
    own: int
    profiled: bool


@dataclass(frozen=True, eq=False)
class CarriedLatencies:
    """The latencies of one machine in a file; what is missing may be timed only where they are this machine's."""

    path: Path
    identity: Identity
    entries: Mapping[OpSignature, Entry]
    networks: Mapping[str, NetworkEntry]
    own: Latencies | None
    """Answers and keeps what the file does not know, where it may be timed here."""
    _used: dict[str, Stored] = field(default_factory=dict)
    _own_keys: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path, here: Identity, own: Latencies) -> CarriedLatencies:
        """Read a file of `prunec store export`; of several machines of the target this one is preferred.

        Raises DataError where it cannot be read or leaves the choice between machines, EnvironmentMissing where it
        holds nothing for the target.
        """
        entries = read_lines(path)
        identities = {entry.identity for entry in entries if entry.identity.target == here.target}
        if not identities:
            raise EnvironmentMissing(f"{path} holds no latencies for target {here.target}", hint="export others")
        if here not in identities and len(identities) > 1:
            listed = "; ".join(sorted(f"{item.device}, {item.runtime}" for item in identities))
            what = f"{path} holds latencies of {len(identities)} machines for target {here.target} ({listed})"
            raise DataError(what, hint="export those of one")
        identity = here if here in identities else next(iter(identities))
        chosen = [entry for entry in entries if entry.identity == identity]
        layers = {entry.signature: entry for entry in chosen if isinstance(entry, Entry)}
        networks = {entry.network: entry for entry in chosen if isinstance(entry, NetworkEntry)}
        return cls(path, identity, layers, networks, own if identity == here else None)

    @property
    def origin(self) -> Origin | None:
        """Where and when what was used had been measured; None before anything was."""
        dates = [entry.created_at for entry in self._used.values()]
        if not dates:
            return None
        profiled = any(isinstance(entry, NetworkEntry) for entry in self._used.values())
        layers = sum(isinstance(entry, Entry) for entry in self._used.values())
        return Origin(str(self.path), self.identity, layers, min(dates), max(dates), len(self._own_keys), profiled)

    @property
    def profiles_here(self) -> bool:
        """Whether a network was asked for that another machine's file does not know."""
        return self.own is None and bool(self._own_keys)

    def get(self, identity: Identity, signature: OpSignature) -> Entry | None:
        """Return the file's latency. Raises EnvironmentMissing where there is none and this is another machine."""
        if signature not in self.entries:
            self.require([signature])
            return self._noted(self.own.get(identity, signature) if self.own else None)
        self._used[self.entries[signature].key] = self.entries[signature]
        return self.entries[signature]

    def network(self, identity: Identity, network: str) -> NetworkEntry | None:
        """Return the file's profile; None where that is to be made here, which lends the layers their shares only."""
        if network not in self.networks:
            return self._noted(self.own.network(identity, network) if self.own else None)
        self._used[self.networks[network].key] = self.networks[network]
        return self.networks[network]

    def put(self, entry: Stored) -> None:
        """Keep what was timed here."""
        self._own_keys.add(entry.key)
        if self.own:
            self.own.put(entry)

    def _noted(self, entry: Known | None) -> Known | None:
        """Remember an answer of this machine's own store."""
        if entry:
            self._own_keys.add(entry.key)
        return entry

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
