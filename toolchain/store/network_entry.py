"""The other kind of line of the store: a whole network, kernel by kernel, as the target runs it.

Blocks that are timed alone do not tell what the target fuses, how long the kernels between them take, and what the
runtime adds. Where a network is planned for a machine that is not here, that comes from there too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import onnx
from pydantic import AwareDatetime, Discriminator, Tag, TypeAdapter

from toolchain import __version__
from toolchain.graph.hashing import model_sha256
from toolchain.measure.machine_load import waiting_share
from toolchain.store.entry import Dated, Entry
from toolchain.targets.engine import Identity
from toolchain.targets.layer_time import WEIGHTED, LayerTime

WITH_WEIGHTS = WEIGHTED | {"BatchNormalization"}
VALUES = ("raw_data", "float_data", "int32_data", "int64_data", "uint64_data", "double_data")


@dataclass(frozen=True)
class NetworkEntry(Dated):
    """What a network takes as a whole, and its kernels in the order they run; none where the target does not tell."""

    network: str
    identity: Identity
    whole_ms: float
    layers: tuple[LayerTime, ...]
    created_at: AwareDatetime
    tool_version: str
    waiting_share: float | None = None

    @classmethod
    def now(
        cls, network: str, identity: Identity, whole_ms: float, layers: tuple[LayerTime, ...], *, measured: bool
    ) -> NetworkEntry:
        """Return the entry of a network that was just profiled."""
        waiting = waiting_share() if measured else None
        return cls(network, identity, whole_ms, layers, datetime.now(UTC), __version__, waiting)

    @property
    def key(self) -> str:
        """The address of this entry."""
        return network_key(self.identity, self.network)

    def answers(self, identity: Identity, network: str) -> bool:
        """Say whether this is the profile of `network` on `identity`."""
        return (self.identity, self.network) == (identity, network)

    def to_json(self) -> str:
        """Return this entry as one line of JSON."""
        return _NETWORK.dump_json(self).decode()


Stored = Entry | NetworkEntry


def read_stored(text: str) -> Stored:
    """Return what either kind's `to_json` wrote. Raises pydantic's ValidationError for any other text."""
    return _STORED.validate_json(text)


def network_key(identity: Identity, network: str) -> str:
    """Return the SHA-256 of what was profiled and where."""
    return hashlib.sha256(f"{identity.key()} network {network}".encode()).hexdigest()


def network_sha256(model: onnx.ModelProto) -> str:
    """Return the hash of a model's content but for the values of its weights, on which no latency depends.

    Other constants count: they may be shapes, scales, bounds.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    weights = {name for node in model.graph.node if node.op_type in WITH_WEIGHTS for name in node.input[1:]}
    for tensor in bare.graph.initializer:
        for name in VALUES if tensor.name in weights else ():
            tensor.ClearField(name)
    return model_sha256(bare)


def _kind(value: Any) -> Literal["layer", "network"]:
    return "network" if isinstance(value, dict) and "network" in value else "layer"


_NETWORK = TypeAdapter(NetworkEntry)
_STORED: TypeAdapter[Stored] = TypeAdapter(
    Annotated[Annotated[Entry, Tag("layer")] | Annotated[NetworkEntry, Tag("network")], Discriminator(_kind)]
)
