"""Target `openvino`: Intel's OpenVINO on a processor, an integrated or discrete GPU, or an NPU.

The engine is the compiled model as OpenVINO exports it, and that file is imported again to be run, so that what is
timed is what ships. Measured on ResNet-56: outputs are bit for bit those of the model that was compiled in place, and
latencies are the same. A blob holds no configuration: whoever loads it gives device, hint and precision again. It
belongs to one version of OpenVINO and one instruction set.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal

import numpy.typing as npt
import onnx
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata
from polygraphy.datatype import DataType
from pydantic import Field

from toolchain.errors import EnvironmentMissing, ModelError, UsageError
from toolchain.targets.contract import Alignment, Availability, Clock, Feeds, Target
from toolchain.targets.engine import Engine, Identity
from toolchain.targets.host import cpu_device
from toolchain.targets.layer_time import LayerTime
from toolchain.targets.openvino_profile import SETTLE_RUNS, layer_times

_ELEMENT_TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_CAPABILITIES = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}
_NOISE = re.compile(
    r"^(Exception from |FrontEnd API failed|Model wasn't fully converted|While validating node |Summary:"
    r"|-- Conversion is failed for|To facilitate ).*$"
    r"|Check '.*' failed at \S+$"
    r"|^-- ",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Openvino(Target):
    """OpenVINO; `threads=0` takes the library's default, one thread a core of the device CPU.

    Floating-point layers compute in `precision`, whatever the model's own type; integer layers of a quantised model
    stay integer. Left to itself the library would take what is fastest: bfloat16 on processors with AMX, float16 on
    Arm and on GPUs.

    Threads are not pinned to cores unless asked for, unlike in the library left to itself. Measured on two busy cores:
    with pinning, the ratio of an engine to itself spreads over 30 %; without, over 1 to 3 %, as with one thread.
    """

    name: ClassVar[str] = "openvino"
    clock: ClassVar[Clock] = Clock.HOST
    engine_suffix: ClassVar[str] = ".blob"
    needs_fixed_sizes: ClassVar[bool] = True
    """An NPU takes no others, and on a CPU symbolic sizes cost up to 7 % (ResNet-56, one thread)."""

    profiles: ClassVar[bool] = True

    threads: Annotated[int, Field(ge=0)] = 0
    device: Literal["CPU", "GPU", "NPU"] = "CPU"
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    pinning: bool = False

    def __post_init__(self) -> None:
        if self.device != "CPU" and (self.threads or self.pinning):
            raise UsageError("target openvino: threads and pinning are options of device=CPU", hint="leave them out")

    @property
    def single_threaded(self) -> bool:
        """Whether it computes in one thread of this process."""
        return self.device == "CPU" and self.threads == 1

    def availability(self) -> Availability:
        """Say whether the library, the device and its arithmetic are there."""
        if importlib.util.find_spec("openvino") is None:
            return Availability(False, "the package openvino is not installed", "pip install 'prunec[openvino]'")
        core = _library().Core()
        kinds = sorted({name.partition(".")[0] for name in core.available_devices})
        if self.device not in kinds:
            return Availability(
                False, f"OpenVINO finds no {self.device} here", f"use device={kinds[0]}, or install its driver"
            )
        offered = core.get_property(self.device, "OPTIMIZATION_CAPABILITIES")
        if _CAPABILITIES[self.precision] not in offered:
            have = " or ".join(name for name, capability in _CAPABILITIES.items() if capability in offered)
            return Availability(False, f"this {self.device} does not compute in {self.precision}", f"choose {have}")
        return Availability(True)

    def identity(self) -> Identity:
        """Describe processor or device, library version, precision and options."""
        library = _library()
        device = cpu_device() if self.device == "CPU" else library.Core().get_property(self.device, "FULL_DEVICE_NAME")
        return Identity(
            target=self.name,
            device=device,
            runtime=f"openvino {library.__version__}",
            precision=self.precision,
            options=self.options,
        )

    def width_alignment(self, data_type: int = onnx.TensorProto.FLOAT) -> Alignment:  # noqa: ARG002
        """Return the blocked layout's 16 channels; any width is acceptable.

        Measured with AVX-512, 3x3 over 28x28: stairs are 16 wide, and a width between two multiples of 16 costs at
        most 4 % more than the next multiple.
        """
        return Alignment(preferred=16, least=1)

    def compile(self, model: onnx.ModelProto, path: Path) -> None:
        """Compile for the device and export the result."""
        copy = onnx.ModelProto()
        copy.CopyFrom(model)  # onnx.save moves the weights out of the model it is given
        with tempfile.TemporaryDirectory(prefix="prunec-") as folder:
            source = Path(folder, "model.onnx")
            onnx.save(copy, source, save_as_external_data=True, location="weights")
            core = _library().Core()
            try:
                compiled = core.compile_model(core.read_model(source), self.device, self._configuration())
                path.write_bytes(compiled.export_model().getvalue())
            except RuntimeError as error:
                raise ModelError(f"OpenVINO cannot build the model: {_reason(error)}") from None

    def runner(self, engine: Engine) -> BaseRunner:
        """Return a runner of the exported model, timed on the host around the call that computes."""
        return _Runner(lambda: self._load(engine.path))

    def profile(self, model: onnx.ModelProto, engine: Engine, feeds: Feeds, runs: int) -> tuple[LayerTime, ...]:
        """Run with performance counters, read after each run."""
        compiled = self._load(engine.path, profiled=True)
        request = compiled.create_infer_request()
        for name, value in feeds.items():
            request.set_tensor(name, _library().Tensor(value))
        for _ in range(SETTLE_RUNS):
            request.infer()
        reads, runs_ms = [request.get_profiling_info()], []
        for _ in range(runs):
            start = time.perf_counter()
            request.infer()
            runs_ms.append((time.perf_counter() - start) * 1e3)
            reads.append(request.get_profiling_info())
        return layer_times(model, compiled.get_runtime_model(), reads, runs_ms)

    def _load(self, path: Path, *, profiled: bool = False) -> Any:
        try:
            configured = {**self._configuration(), "PERF_COUNT": profiled}
            return _library().Core().import_model(path.read_bytes(), self.device, configured)
        except RuntimeError as error:
            what = f"OpenVINO cannot load the engine {path}: {_reason(error)}"
            raise EnvironmentMissing(what, hint="build it with this version, on this kind of machine") from None

    def _configuration(self) -> dict[str, Any]:
        configuration: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _ELEMENT_TYPES[self.precision],
        }
        if self.device == "CPU":
            configuration["ENABLE_CPU_PINNING"] = self.pinning
        if self.threads:
            configuration["INFERENCE_NUM_THREADS"] = self.threads
        return configuration


class _Runner(BaseRunner):  # type: ignore[misc]
    """Runs one request at a time."""

    def __init__(self, load: Callable[[], Any]) -> None:
        super().__init__(name=Openvino.name)
        self._load = load

    def activate_impl(self) -> None:
        self._compiled = self._load()
        self._request = self._compiled.create_infer_request()

    def deactivate_impl(self) -> None:
        del self._request, self._compiled

    def get_input_metadata_impl(self) -> TensorMetadata:
        metadata = TensorMetadata()
        for port in self._compiled.inputs:
            shape = [size.get_length() if size.is_static else None for size in port.partial_shape]
            metadata.add(port.any_name, DataType.from_dtype(port.element_type.to_dtype()), shape)
        return metadata

    def infer_impl(self, feed_dict: Mapping[str, npt.NDArray[Any]]) -> OrderedDict[str, npt.NDArray[Any]]:
        tensor = _library().Tensor
        try:
            for name, value in feed_dict.items():
                self._request.set_tensor(name, tensor(value))
            start = time.perf_counter()
            outputs = self._request.infer()
            self.inference_time = time.perf_counter() - start
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot run the model: {_reason(error)}") from None
        return OrderedDict((port.any_name, outputs[port]) for port in self._compiled.outputs)


def _library() -> ModuleType:
    """Return OpenVINO, imported without the package that reports every import to its maker."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


def _reason(error: RuntimeError) -> str:
    """Return what the library says in one line, without its own source paths."""
    text = str(error)
    return " ".join(_NOISE.sub("", text).split()) or " ".join(text.split())
