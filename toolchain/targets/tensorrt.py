"""Target `tensorrt`: NVIDIA TensorRT 10 and 11, on the GPU of this machine.

TensorRT 10 takes precisions as builder flags; 11 has none and types networks strongly. Which one is installed is
seen by what it offers, never by its version.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import onnx
from polygraphy.backend.base import BaseRunner
from pydantic import Field

from toolchain.errors import EnvironmentMissing
from toolchain.graph.deployment import random_feeds
from toolchain.graph.hashing import model_sha256
from toolchain.targets.contract import Availability, Feeds
from toolchain.targets.engine import Engine
from toolchain.targets.layer_time import LayerTime
from toolchain.targets.pinned_cache import cache_path, pinned_cache
from toolchain.targets.several_builds import Best, keep_one
from toolchain.targets.tensorrt_family import TensorrtFamily
from toolchain.targets.tensorrt_profile import layer_times, read_layers

SETTLE_RUNS = 2


@dataclass(frozen=True)
class Tensorrt(TensorrtFamily):
    """TensorRT.

    `version_compatible` engines load in later versions too; `hardware_compatible` ones on Ampere and all GPUs after it.

    Kernels are chosen by timing them, so no two builds are alike. One build reuses the timings of earlier ones, kept in
    a cache for each identity; several `builds` each time anew, are then timed themselves, and the `best` one is kept,
    its timings with it.

    `layer_profile` has blocks timed inside the engine instead of alone, by TensorRT's profiler.
    """

    name: ClassVar[str] = "tensorrt"
    package: ClassVar[str] = "tensorrt"
    is_rtx: ClassVar[bool] = False
    auto_rank: ClassVar[int | None] = 0

    fp16: bool = False
    version_compatible: bool = False
    hardware_compatible: bool = False
    builds: Annotated[int, Field(ge=1)] = 1
    best: Best = Best.FASTEST
    layer_profile: bool = False

    @property
    def profiles(self) -> bool:  # type: ignore[override]
        """Whether its profile is to be used."""
        return self.layer_profile

    def can_build(self) -> Availability:
        """Say whether the library and a GPU are there: its builder times kernels on the GPU."""
        installed = super().can_build()
        if installed.ok and not self.executes:
            return Availability(False, "there is no NVIDIA GPU, which its builder needs", "use target tensorrt-rtx")
        return installed

    def compile(self, model: onnx.ModelProto, path: Path) -> None:
        """Build with the timings of earlier builds, or several times without them."""
        owner = self.identity().key()
        with pinned_cache(cache_path("timings", owner), owner) as timings:
            if self.builds == 1:
                self.write_engine(model, path, timings)
            else:
                self._write_best(model, path, timings)

    def _write_best(self, model: onnx.ModelProto, path: Path, timings: Path) -> None:
        """Write the engine to keep; its timings, and those of no other build, take the place of earlier ones."""
        fresh = iter([timings.with_name(f"build-{number}") for number in range(self.builds)])
        source = model_sha256(model)

        def runner(candidate: Path) -> BaseRunner:
            return self.runner(Engine(candidate, self.identity(), "", source))

        kept = keep_one(
            lambda candidate: self.write_engine(model, candidate, next(fresh)),
            runner,
            random_feeds(model, {}, np.random.default_rng(0)),
            path,
            self.builds,
            self.best,
        )
        shutil.copyfile(timings.with_name(f"build-{kept}"), timings)

    def profile(self, model: onnx.ModelProto, engine: Engine, feeds: Feeds, runs: int) -> tuple[LayerTime, ...]:
        """Run with TensorRT's profiler, which times each layer by events of the device."""
        loaded = self.load(engine.path)
        import tensorrt
        from polygraphy.backend.trt import TrtRunner

        samples_ms: dict[str, list[float]] = defaultdict(list)

        class Recorder(tensorrt.IProfiler):  # type: ignore[misc]
            def __init__(self) -> None:
                tensorrt.IProfiler.__init__(self)

            def report_layer_time(self, name: str, milliseconds: float) -> None:
                samples_ms[name].append(milliseconds)

        recorder = Recorder()
        information = loaded.create_engine_inspector().get_engine_information(tensorrt.LayerInformationFormat.JSON)
        with TrtRunner(loaded, name=self.name) as runner:
            for _ in range(SETTLE_RUNS):
                runner.infer(feeds, check_inputs=False)
            runner.context.profiler = recorder
            for _ in range(runs):
                runner.infer(feeds, check_inputs=False)
        return layer_times(model, read_layers(information), samples_ms)

    def builder_config(self, settings: Mapping[str, Any]) -> Callable[..., Any]:
        """Return CreateConfig with what was asked for and this TensorRT offers."""
        import tensorrt
        from polygraphy.backend.trt import CreateConfig

        if self.fp16 and not hasattr(tensorrt.BuilderFlag, "FP16"):
            what = "this TensorRT has no fp16 option: networks are strongly typed"
            raise EnvironmentMissing(f"target tensorrt: {what}", hint="cast the model to float16 instead")
        level = tensorrt.HardwareCompatibilityLevel.AMPERE_PLUS if self.hardware_compatible else None
        config: Callable[..., Any] = CreateConfig(
            fp16=self.fp16 or None,
            version_compatible=self.version_compatible or None,
            hardware_compatibility_level=level,
            **settings,
        )
        return config

    def precision_text(self) -> str:
        """Say what the flags allow."""
        return "float16 allowed" if self.fp16 else "as in the model"
