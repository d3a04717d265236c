"""Everything a compile is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.budget import Budget
from toolchain.data.preprocess import Preprocess
from toolchain.emit.torch_module.emitter import Emitter
from toolchain.graph.deployment import Shapes
from toolchain.graph.rule import Rule
from toolchain.pipeline.contract import Pass
from toolchain.targets.contract import Target


@dataclass(frozen=True, eq=False)
class CompileRequest:
    """Everything a compile is asked for; `command` is how to ask for it again."""

    model: Path
    output: Path
    passes: Sequence[Pass]
    target: Target
    rules: Mapping[str, Rule]
    emitters: Mapping[str, Emitter] = field(default_factory=dict)
    """How ops are said in PyTorch; without them the bundle gets no module and no script that trains it."""
    also_build: Sequence[Target] = ()
    """Targets whose engines are added to the bundle, built but not timed."""
    budget: Budget | None = None
    data: Path | None = None
    preprocess: Preprocess | None = None
    metric: str = "auto"
    calibration_data: Path | None = None
    calibration_samples: int | None = None
    evaluation_samples: int | None = None
    min_accuracy: float | None = None
    finetune: tuple[str, ...] | None = None
    """Options of the bundle's finetune.py, which trains after the pipeline; None does not train."""
    latencies: Path | None = None
    """An exported latency store that answers instead of timing blocks."""
    input_shapes: Shapes | None = None
    dump_directory: Path | None = None
    dry_run: bool = False
    seed: int = 0
    command: str = ""
