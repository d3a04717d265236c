"""TensorRT's launches as the GPU sees them: timed by its own events, or captured once and replayed as a CUDA graph.

CUDA's runtime library is the one that Polygraphy has loaded; names are those of its API:
https://docs.nvidia.com/cuda/cuda-runtime-api
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref, c_float, c_int, c_ulonglong, c_void_p
from typing import Any, Protocol

from polygraphy.backend.base import BaseRunner

from toolchain.errors import EnvironmentMissing
from toolchain.targets.contract import Feeds

THREAD_LOCAL_CAPTURE = 1


class CudaCalls(Protocol):
    """A CUDA function by name."""

    def __call__(self, name: str, *arguments: Any) -> None:
        """Call it. Raises EnvironmentMissing where CUDA returns an error."""


def cuda_calls() -> CudaCalls:
    """Return the functions of the CUDA runtime on this machine."""
    from polygraphy import cuda

    library = cuda.wrapper().handle

    def call(name: str, *arguments: Any) -> None:
        if status := getattr(library, name)(*arguments):
            raise EnvironmentMissing(f"CUDA's {name} failed with error {status}", hint="see the CUDA runtime's errors")

    return call


class Launches:
    """An execution context that times and replays what it is told to execute; all else is the context's own."""

    def __init__(self, context: Any, call: CudaCalls, *, replays: bool) -> None:
        self._context = context
        self._call = call
        self._replays = replays
        self._warm = False
        self._graph: c_void_p | None = None
        self._addresses: dict[str, int] = {}
        self._start, self._stop = (self._made("cudaEventCreate") for _ in range(2))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def set_tensor_address(self, name: str, address: int) -> bool:
        """Pass an address on; a graph that was captured with another one is no longer true."""
        if self._addresses.get(name) != address:
            self._forget()
        self._addresses[name] = address
        return bool(self._context.set_tensor_address(name, address))

    def set_input_shape(self, name: str, shape: Any) -> bool:
        """Pass a shape on, which a captured graph does not have."""
        self._forget()
        return bool(self._context.set_input_shape(name, shape))

    def execute_async_v3(self, stream: int) -> bool:
        """Execute between two events. The first time is a plain launch, in which the library makes itself ready."""
        self._call("cudaEventRecord", self._start, c_void_p(stream))
        done = self._replay(stream) if self._replays and self._warm else bool(self._context.execute_async_v3(stream))
        self._call("cudaEventRecord", self._stop, c_void_p(stream))
        self._warm = True
        return done

    def seconds(self) -> float:
        """Return the time between the two events of the last execution."""
        milliseconds = c_float()
        self._call("cudaEventSynchronize", self._stop)
        self._call("cudaEventElapsedTime", byref(milliseconds), self._start, self._stop)
        return milliseconds.value / 1e3

    def close(self) -> None:
        """Free the events and the graph."""
        self._forget()
        for event in (self._start, self._stop):
            self._call("cudaEventDestroy", event)

    def _replay(self, stream: int) -> bool:
        if self._graph is None:
            self._graph = self._captured(stream)
        self._call("cudaGraphLaunch", self._graph, c_void_p(stream))
        return True

    def _captured(self, stream: int) -> c_void_p:
        self._call("cudaStreamBeginCapture", c_void_p(stream), c_int(THREAD_LOCAL_CAPTURE))
        done = self._context.execute_async_v3(stream)
        graph = self._made("cudaStreamEndCapture", c_void_p(stream))
        if not done:
            what = "the engine's launches cannot be captured as a CUDA graph"
            raise EnvironmentMissing(what, hint="leave cuda_graph out")
        executable = c_void_p()
        self._call("cudaGraphInstantiateWithFlags", byref(executable), graph, c_ulonglong(0))
        self._call("cudaGraphDestroy", graph)
        return executable

    def _forget(self) -> None:
        if self._graph is not None:
            self._call("cudaGraphExecDestroy", self._graph)
            self._graph = None

    def _made(self, name: str, *arguments: Any) -> c_void_p:
        """Return what a function writes to its pointer argument, which is its first, or its last after others."""
        made = c_void_p()
        self._call(name, *arguments, byref(made))
        return made


class DeviceRunner(BaseRunner):  # type: ignore[misc]
    """Runs a TrtRunner whose context is watched; its inference time is the host's or the device's."""

    def __init__(self, inner: BaseRunner, calls: Callable[[], CudaCalls], *, on_device: bool, replays: bool) -> None:
        super().__init__(name=inner.name, prefix="device-runner")
        self._inner = inner
        self._calls = calls
        self._on_device = on_device
        self._replays = replays

    def activate_impl(self) -> None:
        """Open the engine and watch its launches."""
        self._inner.activate()
        self._launches = Launches(self._inner.context, self._calls(), replays=self._replays)
        self._inner.context = self._launches

    def get_input_metadata_impl(self) -> Any:
        """Return the inputs' names, types and shapes."""
        return self._inner.get_input_metadata()

    def infer_impl(self, feed_dict: Feeds) -> Any:
        """Run once, inputs and outputs in host memory; the device's time is that of the launch alone."""
        outputs = self._inner.infer(feed_dict, check_inputs=False)
        self.inference_time = self._launches.seconds() if self._on_device else self._inner.last_inference_time()
        return outputs

    def deactivate_impl(self) -> None:
        """Close the engine."""
        self._launches.close()
        self._inner.deactivate()
