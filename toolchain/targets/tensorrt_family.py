"""What TensorRT and TensorRT-RTX share: both are built and run by the same Polygraphy loaders.

Polygraphy decides at its first import of TensorRT which of the two libraries it drives, so one process uses one.
"""

from __future__ import annotations

import importlib.util
import sys
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import onnx
import polygraphy.config
from polygraphy import util
from polygraphy.backend.base import BaseRunner
from polygraphy.exception import PolygraphyException

from toolchain.errors import EnvironmentMissing, ModelError
from toolchain.targets.contract import Alignment, Availability, Clock, Target
from toolchain.targets.engine import Engine, Identity
from toolchain.targets.host import nvidia_device, nvidia_driver
from toolchain.targets.polygraphy_log import collected_errors

HALF_PRECISION_CHANNELS = 8
"""FP16 kernels work on 8 channels at a time; a narrower or odd width is padded to it."""


@dataclass(frozen=True)
class TensorrtFamily(Target):
    """Builds serialised engines from ONNX."""

    clock: ClassVar[Clock] = Clock.HOST
    engine_suffix: ClassVar[str] = ".engine"
    needs_fixed_sizes: ClassVar[bool] = True
    package: ClassVar[str]
    is_rtx: ClassVar[bool]

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
            device=nvidia_device() or "no GPU here",
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
        self._choose_library()
        from polygraphy.backend.trt import EngineBytesFromNetwork, NetworkFromOnnxBytes

        with collected_errors() as errors:
            try:
                network = NetworkFromOnnxBytes(model.SerializeToString())
                util.save_file(EngineBytesFromNetwork(network, config=self.builder_config())(), str(path))
            except PolygraphyException as error:
                raise self._refusal(str(error), errors) from None

    def runner(self, engine: Engine) -> BaseRunner:
        """Return a runner of the engine file; its inputs and outputs are host memory."""
        self._choose_library()
        from polygraphy.backend.common import BytesFromPath
        from polygraphy.backend.trt import EngineFromBytes, TrtRunner

        return TrtRunner(EngineFromBytes(BytesFromPath(str(engine.path))), name=self.name)

    @abstractmethod
    def builder_config(self) -> Callable[..., Any]:
        """Return Polygraphy's loader of the builder configuration."""

    @abstractmethod
    def precision_text(self) -> str:
        """Say which precision the engine computes in."""

    def _choose_library(self) -> None:
        if "polygraphy.backend.trt" in sys.modules and self.is_rtx != polygraphy.config.USE_TENSORRT_RTX:
            what = "one process drives either TensorRT or TensorRT-RTX, and the other is loaded already"
            raise EnvironmentMissing(f"target {self.name}: {what}", hint="run prunec once for each")
        polygraphy.config.USE_TENSORRT_RTX = self.is_rtx

    def _refusal(self, error: str, messages: list[str]) -> ModelError | EnvironmentMissing:
        first = (messages[0] if messages else " ".join(error.split())).rstrip(".")
        if "Compute capability" in first:
            return EnvironmentMissing(f"target {self.name}: {first}", hint="see its documentation for supported GPUs")
        return ModelError(f"target {self.name} cannot build the model: {first}")


def _installed_version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
