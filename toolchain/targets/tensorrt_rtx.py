"""Target `tensorrt-rtx`: NVIDIA TensorRT-RTX, whose builder needs no GPU.

Engines are built for stated compute capabilities (8.9 is an RTX 4090) on any machine; kernels are chosen when an
engine is first loaded on its GPU, and kept in a runtime cache, so that later sessions find them. There is no timing
cache: the builder times nothing, its engines of one model are the same byte for byte, and asking for such a cache would
make it look for a GPU (https://docs.nvidia.com/deeplearning/tensorrt-rtx, "Timing Cache Migration").
Networks are strongly typed: precision lives in the graph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from toolchain.errors import UsageError
from toolchain.targets.pinned_cache import cache_path, pinned_cache
from toolchain.targets.tensorrt_family import TensorrtFamily

CAPABILITY = re.compile(r"(\d+)\.(\d)")


@dataclass(frozen=True)
class TensorrtRtx(TensorrtFamily):
    """TensorRT-RTX; `compute_capabilities` such as 8.9+12.0, empty for the GPU of this machine."""

    name: ClassVar[str] = "tensorrt-rtx"
    package: ClassVar[str] = "tensorrt_rtx"
    is_rtx: ClassVar[bool] = True
    auto_rank: ClassVar[int | None] = 10

    compute_capabilities: str = ""

    def builder_config(self, settings: Mapping[str, Any]) -> Callable[..., Any]:
        """Return CreateConfigRTX for the stated GPUs, or for the one that is here."""
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        capabilities = self._capabilities()
        if not capabilities and not self.executes:
            raise UsageError(
                "target tensorrt-rtx: there is no GPU here to build for",
                hint="say which: --compute-capability 8.9,12.0",
            )
        config: Callable[..., Any] = CreateConfigRTX(
            use_gpu=not capabilities, compute_capabilities=capabilities or None, **settings
        )
        return config

    def executable(self, engine: Any) -> Any:
        """Return a context that takes compiled kernels from the runtime cache, and adds those that were missing.

        The library itself refuses kernels of another GPU, driver or version.
        """
        from polygraphy.mod.trt_importer import lazy_import_trt

        config = engine.create_runtime_config()
        if self.cuda_graph:
            config.cuda_graph_strategy = lazy_import_trt().CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        owner = self.identity().key()
        with pinned_cache(cache_path("kernels", owner), owner) as kernels:
            cache = config.create_runtime_cache()
            if kernels.exists():
                cache.deserialize(kernels.read_bytes())
            config.set_runtime_cache(cache)
            context = engine.create_execution_context(config)
            kernels.write_bytes(cache.serialize())
        return context

    def precision_text(self) -> str:
        """Say that the graph decides."""
        return "as in the model"

    def _capabilities(self) -> list[tuple[int, int]]:
        found = []
        for text in filter(None, self.compute_capabilities.split("+")):
            match = CAPABILITY.fullmatch(text.strip())
            if match is None:
                raise UsageError(f"'{text}' is not a compute capability", hint="write 8.9, or 8.9,12.0 for several")
            found.append((int(match[1]), int(match[2])))
        return found
