"""What a target is: it builds an engine from an ONNX model, describes itself, and runs the engine."""

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt
import onnx
from polygraphy.backend.base import BaseRunner

from toolchain.errors import EnvironmentMissing, ModelError, NoRoom, UsageError
from toolchain.graph.hashing import model_sha256
from toolchain.targets.engine import Engine, Identity, find, folder_name, seal
from toolchain.targets.layer_time import LayerTime

Feeds = Mapping[str, npt.NDArray[Any]]


class Clock(StrEnum):
    """What a latency was read from, and so what it includes."""

    HOST = "host"
    """Wall clock around one inference call: inputs and outputs are host memory."""
    DEVICE = "device"
    """Events on the device: execution alone, without copies to and from the host."""
    MODELLED = "modelled"
    """A formula: nothing was measured."""


@dataclass(frozen=True)
class Availability:
    """Whether a target can be used here, and if not, why and what to do."""

    ok: bool
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Alignment:
    """The multiples of channels a target likes: a prior that measurement overrules."""

    preferred: int
    least: int


@dataclass(frozen=True)
class Target(ABC):
    """A backend; its fields are its options.

    A new target is one new file here with one subclass. The file is imported on every machine, so an optional
    library is imported inside methods, and `availability` says whether that would work.
    """

    name: ClassVar[str]
    clock: ClassVar[Clock]
    engine_suffix: ClassVar[str]
    auto_rank: ClassVar[int | None] = None
    """Place in the search of `auto`, lowest first; None: only on request."""
    profiles: ClassVar[bool] = False
    """Whether `profile` tells what each kernel takes."""
    needs_fixed_sizes: ClassVar[bool] = False
    """Whether symbolic input sizes have to be fixed to the deployed ones before an engine is built."""

    @property
    def measured(self) -> bool:
        """Whether latencies are measured; if not, every number is to be printed as modelled."""
        return self.clock is not Clock.MODELLED

    @property
    def executes(self) -> bool:
        """Whether `runner` computes outputs on this machine, so that accuracy can be measured through it."""
        return self.measured

    @property
    def single_threaded(self) -> bool:
        """Whether an inference keeps one thread of this process busy: its processor time is its latency when idle."""
        return False

    @property
    def feels_pace(self) -> bool:
        """Whether kernels take clearly longer while the processor's wide multipliers are slowed (measure/pace.py)."""
        return False

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """The options as (name, text) pairs."""
        return tuple((field.name, str(getattr(self, field.name))) for field in fields(self))

    @abstractmethod
    def availability(self) -> Availability:
        """Say whether this target, with these options, can build and time engines on this machine."""

    def can_build(self) -> Availability:
        """Say whether it can build engines here, which may need less than timing them."""
        return self.availability()

    @abstractmethod
    def identity(self) -> Identity:
        """Describe device, runtime, driver, precision and options."""

    @abstractmethod
    def width_alignment(self, data_type: int = onnx.TensorProto.FLOAT) -> Alignment:
        """Return the multiples of channels to prefer for tensors of this ONNX data type."""

    @abstractmethod
    def compile(self, model: onnx.ModelProto, path: Path) -> None:
        """Write the engine of `model` to `path`, in a fresh folder in which every file belongs to the engine.

        Raises ModelError where the runtime refuses the model.
        """

    @abstractmethod
    def runner(self, engine: Engine) -> BaseRunner:
        """Return a Polygraphy runner, not yet activated, that loads this engine.

        After `infer`, its `last_inference_time()` is the latency in seconds on this target's `clock`.
        """

    def profile(self, model: onnx.ModelProto, engine: Engine, feeds: Feeds, runs: int) -> tuple[LayerTime, ...]:  # noqa: ARG002
        """Run the engine of `model` so many times in a fresh session; return its kernels in the order they run.

        Raises EnvironmentMissing where the target has no such profile.
        """
        raise EnvironmentMissing(f"target {self.name} does not tell what single layers take")

    def build(self, model: onnx.ModelProto, directory: Path) -> Engine:
        """Return the engine of `model` under `directory`, compiled only if it is not there yet.

        An engine's folder appears by one rename: it is whole or absent. One whose content is not what its
        descriptor says is built anew.

        Raises ModelError where the runtime refuses the model, UsageError where `directory` cannot be written, NoRoom
        where its disk is full.
        """
        identity, source = self.identity(), model_sha256(model)
        path = directory / folder_name(source, identity) / f"engine{self.engine_suffix}"
        if found := find(path, identity, source):
            return found
        shutil.rmtree(path.parent, ignore_errors=True)
        with _scratch(directory) as scratch:
            fresh = Path(scratch, "engine")
            fresh.mkdir()
            with _telling_a_full_disk(fresh, model):
                self.compile(model, fresh / path.name)
            engine = seal(fresh / path.name, identity, source)
            if found := find(path, identity, source):  # another process was faster
                return found
            fresh.rename(path.parent)
        return replace(engine, path=path)


def _scratch(directory: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=directory, prefix=".building-")
    except OSError as error:
        raise UsageError(
            f"engines cannot be written to {directory}: {error.strerror}",
            hint="choose a folder that can be written",
        ) from None


@contextmanager
def _telling_a_full_disk(folder: Path, model: onnx.ModelProto) -> Iterator[None]:
    """Runtimes that find no room for an engine blame the model."""
    try:
        yield
    except ModelError as error:
        if shutil.disk_usage(folder).free < model.ByteSize():
            raise NoRoom("no space left on device") from error
        raise
