"""The contract of a pass: a graph rewrite, ONNX to ONNX.

A pass is a frozen dataclass whose fields are its options; its name is its class name in kebab case. It never
writes to the model it is given. The base class checks that the model that comes out is valid, keeps the
interface, and that `modified` is truthful.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Protocol

import onnx

from toolchain.budget import Budget
from toolchain.criterion import Calibration
from toolchain.errors import PrunecError
from toolchain.graph.analysis import Analysis
from toolchain.graph.facts import Binding
from toolchain.graph.hashing import model_sha256
from toolchain.graph.plan import Plan
from toolchain.graph.rule import Rule
from toolchain.graph.surgery import KeptAxes
from toolchain.latency.contract import LatencyModel
from toolchain.measure.care import Care
from toolchain.measure.comparison import Comparison
from toolchain.strategies.contract import Found
from toolchain.targets.contract import Alignment

OptionValue = str | int | float | bool
"""What an option may be: whatever TOML and `name=value` can say alike."""


class Reporter(Protocol):
    """Where progress goes."""

    def progress(self, text: str) -> None:
        """Say what is going on now; it may be overwritten by the next call."""

    def warn(self, text: str) -> None:
        """Say something that should be read."""


class Timer(Protocol):
    """Builds a model's engine and times it against the original's."""

    @property
    def baseline_ms(self) -> float:
        """The original's median latency."""

    def compare(self, model: onnx.ModelProto, care: Care = Care.QUICK, limit: float | None = None) -> Comparison:
        """Build and time, as carefully as is asked for; what lies on the limit more carefully still."""


@dataclass(frozen=True, eq=False)
class PassContext:
    """Everything a pass may use."""

    rules: Mapping[str, Rule]
    binding: Binding
    budget: Budget | None
    alignment: Alignment
    timer: Timer
    calibration: CalibrationSource | None
    reporter: Reporter
    seed: int
    latency_of: Callable[[Analysis], LatencyModel]
    """Makes the latency model of an analysed model on the target."""
    cut: Cut | None = None
    """What an earlier pass of this pipeline has cut."""
    repairs: tuple[Pass, ...] = ()
    """The passes right after this one that repair: a search judges its candidates with them applied."""


class CalibrationSource(Protocol):
    """Makes calibration for a model: the same samples, looked at through that model."""

    def calibration_of(self, model: onnx.ModelProto) -> Calibration:
        """Return samples and a view of the model's inner tensors."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A plan applied to a model: enough to replay it, to check it with the mask oracle, and to repair the result."""

    source: onnx.ModelProto
    plan: Plan
    kept: Mapping[str, KeptAxes]
    allow_inexact: bool = field(default=False, kw_only=True)
    """Whether the plan may remove what only statistics tie, so that the result is not the masked original."""


@dataclass(frozen=True, eq=False)
class Pruning(Cut):
    """What a pruning pass decided."""

    found: Found
    criterion: str
    widths: tuple[tuple[str, int, int], ...]
    """(group, width before, width after) for every group that can be pruned."""
    frozen: tuple[tuple[str, int, str], ...]
    """(group, width, reason) for every group that cannot."""
    inexact: tuple[str, ...] = ()
    """Why the result is not the masked original; empty where it is."""


@dataclass(frozen=True, eq=False)
class PassResult:
    """The model after a pass, whether anything changed, and notes for the report.

    `exact` says that the result computes what its input computed (for pruning: what the masked input computes);
    a pass that changes weights for the better says no.
    """

    model: onnx.ModelProto
    modified: bool
    notes: tuple[str, ...] = ()
    pruning: Pruning | None = None
    exact: bool = True
    interrupted: bool = False
    """Whether it was to end early: this is the best so far, and no other pass is to run."""


class Pass(ABC):
    """A graph rewrite; subclasses are frozen dataclasses in `passes/`, one a file."""

    lossy: ClassVar[bool] = False
    """Whether it trades accuracy for latency; the floor is judged after a later pass that repairs."""
    repairs: ClassVar[bool] = False
    """Whether it wins accuracy back after a lossy pass."""

    @classmethod
    def name(cls) -> str:
        """Return the name used in `--passes`: FoldBatchnorm is `fold-batchnorm`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @abstractmethod
    def run(self, model: onnx.ModelProto, context: PassContext) -> PassResult:
        """Rewrite a copy of the model."""

    def __call__(self, model: onnx.ModelProto, context: PassContext) -> PassResult:
        """Run, and check what came out."""
        result = self.run(model, context)
        if not result.modified:
            return replace(result, model=model)
        self._check(model, result.model)
        return result

    def options(self) -> dict[str, OptionValue]:
        """Return every option with its value."""
        return {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]

    def _check(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        if _interface(before) != _interface(after):
            raise PrunecError(f"pass {self.name()} changed the model's inputs or outputs")
        if model_sha256(before) == model_sha256(after):
            raise PrunecError(f"pass {self.name()} claims a change that is not there")
        if after.ByteSize() < onnx.checker.MAXIMUM_PROTOBUF:
            _check_valid(self.name(), after)


def restore_identity(model: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Give a rewritten model back what graph libraries drop: documentation, denotations, metadata."""
    constants = {item.name for item in original.graph.initializer}
    for now, before in ((model.graph.input, original.graph.input), (model.graph.output, original.graph.output)):
        del now[:]
        now.extend(item for item in before if item.name not in constants)
    del model.metadata_props[:]
    model.metadata_props.extend(original.metadata_props)
    model.doc_string, model.graph.doc_string = original.doc_string, original.graph.doc_string
    model.domain, model.model_version = original.domain, original.model_version


def _interface(model: onnx.ModelProto) -> list[bytes]:
    constants = {item.name for item in model.graph.initializer}
    values = [item for item in (*model.graph.input, *model.graph.output) if item.name not in constants]
    return [item.SerializeToString(deterministic=True) for item in values]


def _check_valid(name: str, model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:300]
        raise PrunecError(f"pass {name} made an invalid model ({reason})", hint="please report this") from error
