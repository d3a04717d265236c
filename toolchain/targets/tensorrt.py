"""Target `tensorrt`: NVIDIA TensorRT 10 and 11, on the GPU of this machine.

TensorRT 10 takes precisions as builder flags; 11 has none and types networks strongly. Which one is installed is
seen by what it offers, never by its version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from toolchain.errors import EnvironmentMissing
from toolchain.targets.contract import Availability
from toolchain.targets.tensorrt_family import TensorrtFamily


@dataclass(frozen=True)
class Tensorrt(TensorrtFamily):
    """TensorRT.

    `version_compatible` engines load in later versions too; `hardware_compatible` ones on Ampere and all GPUs after it.
    """

    name: ClassVar[str] = "tensorrt"
    package: ClassVar[str] = "tensorrt"
    is_rtx: ClassVar[bool] = False
    auto_rank: ClassVar[int | None] = 0

    fp16: bool = False
    version_compatible: bool = False
    hardware_compatible: bool = False

    def can_build(self) -> Availability:
        """Say whether the library and a GPU are there: its builder times kernels on the GPU."""
        installed = super().can_build()
        if installed.ok and not self.executes:
            return Availability(False, "there is no NVIDIA GPU, which its builder needs", "use target tensorrt-rtx")
        return installed

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
