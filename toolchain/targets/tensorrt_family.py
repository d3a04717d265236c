"""What TensorRT and TensorRT-RTX share: both are built and run by the same Polygraphy loaders.

Polygraphy decides at its first import of TensorRT which of the two libraries it drives, so one process uses one.
Layers keep the names of the ONNX nodes, and engines tell them: Polygraphy asks for detailed profiling information.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import onnx
import polygraphy.config
from polygraphy import util
from polygraphy.backend.base import BaseRunner
from polygraphy.exception import PolygraphyException
from pydantic import Field

from toolchain.errors import EnvironmentMissing, ModelError
from toolchain.targets.contract import Alignment, Availability, Clock, Target
from toolchain.targets.device_runner import DeviceRunner, cuda_calls
from toolchain.targets.engine import NO_DEVICE, Engine, Identity
from toolchain.targets.host import nvidia_device, nvidia_driver
from toolchain.targets.polygraphy_log import collected_errors
from toolchain.targets.shape_range import ShapeRange, shape_ranges, with_open_sizes

HALF_PRECISION_CHANNELS = 8
"""FP16 kernels work on 8 channels at a time; a narrower or odd width is padded to it."""
MEBIBYTE = 1 << 20
NO_DRIVER = "CUDA driver version is insufficient"
DRIVER_HINT = "install NVIDIA's driver, or a newer one"


@dataclass(frozen=True)
class TensorrtFamily(Target):
    """Builds serialised engines from ONNX.

    `workspace_mebibytes=0` and `optimization_level=-1` leave the library's defaults. Engines take the deployed input
    sizes; `min_shapes` and `max_shapes`, such as x:1x3x224x224 (a + between several inputs), widen them to a range,
    whose optimum stays the deployed size.

    `timed_on=host` includes the copies of inputs and outputs, as a caller sees it; `device` is the time between CUDA
    events around the launch. `cuda_graph` replays the launches of one inference as a whole, for engines whose kernels
    are shorter than their launches.
    """

    engine_suffix: ClassVar[str] = ".engine"
    needs_fixed_sizes: ClassVar[bool] = True
    package: ClassVar[str]
    is_rtx: ClassVar[bool]

    workspace_mebibytes: Annotated[int, Field(ge=0)] = 0
    optimization_level: Annotated[int, Field(ge=-1, le=5)] = -1
    min_shapes: str = ""
    max_shapes: str = ""
    timed_on: Literal["host", "device"] = "host"
    cuda_graph: bool = False

    @property
    def clock(self) -> Clock:  # type: ignore[override]
        """What latencies are read from."""
        return Clock(self.timed_on)

    @property
    def executes(self) -> bool:
        """Whether there is a GPU to run on."""
        return bool(nvidia_device())

    def availability(self) -> Availability:
        """Say whether the library is installed and there is a GPU to time on."""
        built = self.can_build()
        if not built.ok:
            return built
        if not nvidia_device():
            hint = f"`prunec build --target {self.name}` builds engines without one"
            return Availability(False, "there is no NVIDIA GPU to time on", hint)
        return Availability(True)

    def can_build(self) -> Availability:
        """Say whether the library is installed."""
        if importlib.util.find_spec(self.package) is None:
            return Availability(
                False, f"the package {self.name} is not installed", f"pip install 'prunec[{self.name}]'"
            )
        return Availability(True)

    def identity(self) -> Identity:
        """Describe GPU, driver, library version and options."""
        return Identity(
            target=self.name,
            device=nvidia_device() or NO_DEVICE,
            runtime=f"{self.name} {_installed_version(self.name)}",
            precision=self.precision_text(),
            options=self.options,
            driver=nvidia_driver(),
        )

    def width_alignment(self, data_type: int = onnx.TensorProto.FLOAT) -> Alignment:  # noqa: ARG002
        """Return what FP16 and TF32 tensor cores like."""
        return Alignment(preferred=4 * HALF_PRECISION_CHANNELS, least=HALF_PRECISION_CHANNELS)

    def compile(self, model: onnx.ModelProto, path: Path) -> None:
        """Parse, build, write the serialised engine."""
        self.write_engine(model, path, None)

    def write_engine(self, model: onnx.ModelProto, path: Path, timings: Path | None) -> None:
        """Parse, build, write; kernels are not timed that were timed for the cache at `timings`, which is extended."""
        self._choose_library()
        from polygraphy.backend.trt import EngineBytesFromNetwork, NetworkFromOnnxBytes

        ranges = shape_ranges(model, self.min_shapes, self.max_shapes)
        with collected_errors() as errors:
            try:
                network = NetworkFromOnnxBytes(with_open_sizes(model, ranges).SerializeToString())
                config = self.builder_config(self._settings(ranges, timings))
                saved = str(timings) if timings else None
                util.save_file(EngineBytesFromNetwork(network, config=config, save_timing_cache=saved)(), str(path))
            except PolygraphyException as error:
                raise self._refusal(_first(error, errors)) from None

    def runner(self, engine: Engine) -> BaseRunner:
        """Return a runner of the engine file; its inputs and outputs are host memory.

        Activating it raises EnvironmentMissing where this library or GPU cannot load the engine.
        """
        self._choose_library()
        from polygraphy.backend.trt import TrtRunner

        runner = TrtRunner(lambda: self.executable(self.load(engine.path)), name=self.name)
        replays = self.cuda_graph and not self.is_rtx
        if self.clock is Clock.HOST and not replays:
            return runner
        return DeviceRunner(runner, cuda_calls, on_device=self.clock is Clock.DEVICE, replays=replays)

    def executable(self, engine: Any) -> Any:
        """Return what a TrtRunner runs: a loaded engine, or a context of it."""
        return engine

    @abstractmethod
    def builder_config(self, settings: Mapping[str, Any]) -> Callable[..., Any]:
        """Return Polygraphy's loader of the builder configuration, `settings` among its arguments."""

    @abstractmethod
    def precision_text(self) -> str:
        """Say which precision the engine computes in."""

    def _settings(self, ranges: Mapping[str, ShapeRange], timings: Path | None) -> Mapping[str, Any]:
        """Return what both libraries' configurations take, by Polygraphy's names."""
        from polygraphy.backend.trt import Profile
        from polygraphy.mod.trt_importer import lazy_import_trt

        profile = Profile()
        for name, found in ranges.items():
            profile.add(name, found.smallest, found.deployed, found.largest)
        pool = {lazy_import_trt().MemoryPoolType.WORKSPACE: self.workspace_mebibytes * MEBIBYTE}
        return {
            "profiles": [profile] if ranges else None,
            "memory_pool_limits": pool if self.workspace_mebibytes else None,
            "builder_optimization_level": self.optimization_level if self.optimization_level >= 0 else None,
            "load_timing_cache": str(timings) if timings and timings.exists() else None,
        }

    def load(self, path: Path) -> Any:
        """Return the engine in `path`. Raises EnvironmentMissing where this library, driver or GPU cannot load it."""
        self._choose_library()
        from polygraphy.backend.trt import EngineFromBytes

        with collected_errors() as errors:
            try:
                return EngineFromBytes(path.read_bytes())()
            except PolygraphyException as error:
                reason = _first(error, errors)
                hint = DRIVER_HINT if NO_DRIVER in reason else "build it with this version, on this kind of machine"
                what = f"target {self.name} cannot load the engine {path}: {reason}"
                raise EnvironmentMissing(what, hint=hint) from None

    def _choose_library(self) -> None:
        """Load this target's library. Raises EnvironmentMissing where it, or what it needs, cannot be loaded."""
        if "polygraphy.backend.trt" in sys.modules and self.is_rtx != polygraphy.config.USE_TENSORRT_RTX:
            what = "one process drives either TensorRT or TensorRT-RTX, and the other is loaded already"
            raise EnvironmentMissing(f"target {self.name}: {what}", hint="run prunec once for each")
        polygraphy.config.USE_TENSORRT_RTX = self.is_rtx
        try:
            importlib.import_module(self.package)
        except (ImportError, OSError, RuntimeError) as error:
            what = f"target {self.name}: the package {self.package} cannot be loaded: {error}"
            raise EnvironmentMissing(what, hint=f"pip install --force-reinstall 'prunec[{self.name}]'") from None

    def _refusal(self, first: str) -> ModelError | EnvironmentMissing:
        if "Compute capability" in first:
            return EnvironmentMissing(f"target {self.name}: {first}", hint="see its documentation for supported GPUs")
        return ModelError(f"target {self.name} cannot build the model: {first}")


def _first(error: PolygraphyException, messages: list[str]) -> str:
    """Return the library's first complaint, which names the cause; later ones only follow from it."""
    return (messages[0] if messages else " ".join(str(error).split())).rstrip(".")


def _installed_version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
