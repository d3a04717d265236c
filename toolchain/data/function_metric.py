"""`--metric FILE.py:function`: accuracy as the user counts it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from toolchain.data.dataset import Outputs
from toolchain.data.metric import BatchResult, Metric, Score
from toolchain.data.user_code import load_function, user_code
from toolchain.errors import DataError, UsageError


@dataclass(frozen=True)
class FunctionMetric(Metric[BatchResult]):
    """`function(outputs, labels) -> float`, where higher is better.

    `outputs` is a list with one dict per batch, output name -> array; `labels` a list with one array, or
    None, per batch. All outputs are kept in memory until the call. The file is code and runs with the
    rights of this process.
    """

    path: Path
    name: str
    function: Callable[[list[Outputs], list[NDArray[Any] | None]], object]

    @classmethod
    def of(cls, text: str) -> Self:
        """Load the function that `FILE.py:function` names."""
        file, _, name = text.rpartition(":")
        path = Path(file)
        if not path.is_file():
            raise UsageError(f"--metric {text}: no file '{file}'", hint="give FILE.py:function")
        return cls(path, name, load_function(path, name))

    def observe(self, result: BatchResult) -> BatchResult:
        """Keep a copy of everything: a runner may reuse its output buffers for the next batch."""
        return replace(result, outputs={name: value.copy() for name, value in result.outputs.items()})

    def score(self, observations: Sequence[BatchResult]) -> Score:
        """Call the function; no interval is known. DataError if it raises or returns no finite number."""
        with user_code(self.path):
            value = self.function([seen.outputs for seen in observations], [seen.labels for seen in observations])
        samples = sum(seen.samples for seen in observations)
        return Score(self.name, self._finite(value), "", True, samples, None, None)

    def _finite(self, result: Any) -> float:
        try:
            value = float(result)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{self.path}: {self.name}() returned {result!r}", hint="return one finite number")
        return value
