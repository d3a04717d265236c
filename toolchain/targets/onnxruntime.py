"""ONNX Runtime: the CPU as it comes, a CUDA device where the wheel has that provider.

The engine is the graph ONNX Runtime has optimised, saved as ONNX. It is run with the optimiser off, so
that what is timed is the very file that ships. Measured on ResNet-20 and -56: it keeps its blocked
(NCHWc) layouts at every level, and latency and outputs are those of the session that was optimised in
place.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx
from polygraphy.backend.base import BaseRunner
from polygraphy.backend.onnxrt import OnnxrtRunner
from pydantic import Field

from toolchain.errors import EnvironmentMissing, ModelError
from toolchain.targets.contract import Alignment, Availability, Clock, Feeds, Target
from toolchain.targets.engine import Engine, Identity
from toolchain.targets.host import cpu_device, nvidia_device, nvidia_driver
from toolchain.targets.layer_time import LayerTime
from toolchain.targets.onnxruntime_profile import (
    IDLE_FEEDS,
    IDLE_MODEL,
    IDLE_RUNS,
    SETTLE_RUNS,
    KernelSamples,
    layer_times,
    read_profile,
)

# Read when the library is loaded: no telemetry, and no warning about a cache folder that cannot be written.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

Array = npt.NDArray[Any]

_FATAL = 4
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_REFUSALS = (
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)
_WEIGHTS_FILE_ENTRY = "session.optimized_model_external_initializers_file_name"
# Beyond half of protobuf's limit weights lie in files of their own, since blocked layouts pad channels.
_EMBEDDED_BYTES = onnx.checker.MAXIMUM_PROTOBUF // 2


@dataclass(frozen=True)
class Onnxruntime(Target):
    """ONNX Runtime; `threads=0` takes the runtime's default, one thread a physical core.

    One thread is the default here because its ratios hold whatever else runs: with two threads on two cores that
    others used too, one and the same pruned ResNet-56 took 79 % of the original's latency in one minute and 88 %
    in the next. Say how many threads are deployed.

    Idle threads do not spin unless asked to, unlike in a session left to itself. Measured on two busy
    cores: with spinning, the threads of two sessions take the cores from each other, and the ratio of an
    engine to itself spreads over 30 % and more; without, over 1 %, as with one thread.
    """

    name: ClassVar[str] = "onnxruntime"
    clock: ClassVar[Clock] = Clock.HOST
    engine_suffix: ClassVar[str] = ".onnx"
    auto_rank: ClassVar[int | None] = 100
    profiles: ClassVar[bool] = True

    threads: Annotated[int, Field(ge=0)] = 1
    spinning: bool = False
    provider: Literal["cpu", "cuda"] = "cpu"

    @property
    def single_threaded(self) -> bool:
        """Whether it computes in the calling thread alone."""
        return self.provider == "cpu" and self.threads == 1

    @property
    def feels_pace(self) -> bool:
        """Whether its kernels are given at one pace: where one thread computes, whose pace can be told."""
        return self.single_threaded

    def availability(self) -> Availability:
        """Say whether the installed wheel has the provider."""
        if _PROVIDERS[self.provider] in onnxruntime.get_available_providers():
            return Availability(ok=True)
        reason = f"the installed onnxruntime has no {_PROVIDERS[self.provider]}"
        return Availability(ok=False, reason=reason, hint="install onnxruntime-gpu, or use provider=cpu")

    def identity(self) -> Identity:
        """Describe processor or GPU, library version and options."""
        on_gpu = self.provider == "cuda"
        return Identity(
            target=self.name,
            device=nvidia_device() if on_gpu else cpu_device(),
            runtime=f"onnxruntime {onnxruntime.__version__}",
            precision="as in the model",
            options=self.options,
            driver=nvidia_driver() if on_gpu else "",
        )

    def width_alignment(self, data_type: int = onnx.TensorProto.FLOAT) -> Alignment:  # noqa: ARG002
        """Return the blocked layout's 16 channels; without a multiple of 4 a layer leaves that layout."""
        return Alignment(preferred=16, least=4)

    def compile(self, model: onnx.ModelProto, path: Path) -> None:
        """Optimise at the highest level and save the result."""
        options = self._session_options("ORT_ENABLE_ALL")
        options.optimized_model_filepath = str(path)
        if _weight_bytes(model) > _EMBEDDED_BYTES:
            options.add_session_config_entry(_WEIGHTS_FILE_ENTRY, "weights")
        _load(model, options, self.provider)

    def runner(self, engine: Engine) -> BaseRunner:
        """Return a runner of the saved file, optimiser off, timed on the host around `session.run`."""
        options = self._session_options("ORT_DISABLE_ALL")
        return OnnxrtRunner(lambda: _Session(str(engine.path), options, self.provider), name=self.name)

    def profile(self, model: onnx.ModelProto, engine: Engine, feeds: Feeds, runs: int) -> tuple[LayerTime, ...]:
        """Run with the library's profiler, whose clock ticks in microseconds.

        What the profiler itself adds to each kernel (3 us where this was written; ResNet-20 takes 0.9 ms and has 49)
        is read off kernels that do nothing, in a session of their own, and subtracted.
        """
        samples_ms = self._kernel_samples_ms(str(engine.path), feeds, runs)
        optimised = onnx.load(engine.path, load_external_data=False)
        return layer_times(model, optimised, samples_ms, _profiler_cost_ms(self))

    def _kernel_samples_ms(self, source: str | bytes, feeds: Feeds, runs: int) -> KernelSamples:
        options = self._session_options("ORT_DISABLE_ALL")
        options.enable_profiling = True
        with tempfile.TemporaryDirectory(prefix="prunec-") as folder:
            options.profile_file_prefix = str(Path(folder, "profile"))
            session = _Session(source, options, self.provider)
            for _ in range(SETTLE_RUNS + runs):
                session.run(None, dict(feeds))
            return read_profile(Path(session.end_profiling()))

    def _session_options(self, level: str) -> onnxruntime.SessionOptions:
        options = _session_options(level)
        options.intra_op_num_threads = self.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self.spinning)))
        return options


@cache
def _profiler_cost_ms(target: Onnxruntime) -> float:
    samples_ms = target._kernel_samples_ms(IDLE_MODEL.SerializeToString(), IDLE_FEEDS, IDLE_RUNS)
    return float(np.percentile(list(chain.from_iterable(samples_ms.values())), 25))


class ReferenceSession:
    """The model as written: ONNX Runtime on the CPU with its optimiser off.

    Verification and calibration use it, since the optimiser may change results.

    `outputs` names the tensors to return, inner ones allowed; None stands for the model's own outputs.
    `optimise` turns the optimiser on after all, to see how much it changes.
    Raises ModelError where the model cannot be loaded or run, or a name in `outputs` is not in it.
    """

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str] | None = None, *, optimise: bool = False) -> None:
        own = [output.name for output in model.graph.output]
        self.outputs = tuple(own if outputs is None else outputs)
        extra = [name for name in self.outputs if name not in own]
        level = "ORT_ENABLE_ALL" if optimise else "ORT_DISABLE_ALL"
        self._session = _load(_with_outputs(model, extra), _session_options(level), "cpu")

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name for these inputs."""
        return dict(zip(self.outputs, self._session.run(list(self.outputs), dict(feeds)), strict=True))


def execute(model: onnx.ModelProto, feeds: Mapping[str, Array], optimise: bool) -> dict[str, Array]:
    """Run a model once."""
    return ReferenceSession(model, optimise=optimise).run(feeds)


class _Session(onnxruntime.InferenceSession):  # type: ignore[misc]
    """A session whose refusals are this project's errors."""

    def __init__(self, source: str | bytes, options: onnxruntime.SessionOptions, provider: str) -> None:
        try:
            super().__init__(source, options, providers=[_PROVIDERS[provider]])
        except _REFUSALS as error:
            raise ModelError(f"ONNX Runtime cannot load the model: {_reason(error)}") from None
        if _PROVIDERS[provider] not in self.get_providers():  # it falls back to the CPU in silence
            what = f"ONNX Runtime could not start {_PROVIDERS[provider]}"
            raise EnvironmentMissing(what, hint="check the driver and the CUDA libraries, or use provider=cpu")

    def run(self, *args: Any) -> Any:
        """Run, or say why not."""
        try:
            return super().run(*args)
        except _REFUSALS as error:
            raise ModelError(f"ONNX Runtime cannot run the model: {_reason(error)}") from None


def _session_options(level: str) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    return options


def _load(model: onnx.ModelProto, options: onnxruntime.SessionOptions, provider: str) -> _Session:
    if _weight_bytes(model) <= _EMBEDDED_BYTES:
        return _Session(model.SerializeToString(), options, provider)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # onnx.save moves the weights out of the model it is given
    with tempfile.TemporaryDirectory(prefix="prunec-") as folder:
        path = str(Path(folder, "model.onnx"))
        onnx.save(copy, path, save_as_external_data=True, location="weights")
        return _Session(path, options, provider)


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    if not names:
        return model
    known = {name for node in model.graph.node for name in node.output}
    if unknown := sorted(set(names) - known):
        raise ModelError(f"the model has no tensor '{unknown[0]}'")
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return extended


def _weight_bytes(model: onnx.ModelProto) -> int:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def _reason(error: Exception) -> str:
    """Return what the runtime says in one line, without its codes and its own source paths."""
    return " ".join(str(error).split(" : ", 3)[-1].split())
