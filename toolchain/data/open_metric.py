"""`--metric NAME`: from a name to a metric."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from toolchain.data.dataset import class_labels
from toolchain.data.fidelity import fidelity
from toolchain.data.function_metric import FunctionMetric
from toolchain.data.interface import ModelInterface
from toolchain.data.metric import Metric
from toolchain.data.top_k import TopK
from toolchain.errors import UsageError

Labels = NDArray[Any] | None


def open_metric(name: str, interface: ModelInterface, labels: Labels) -> Metric[Any]:
    """Return the metric of a name, after checking that the model and all labels of the dataset fit it.

    `auto` is `top1` where the model has class scores and the data integer labels, else `fidelity`.
    """
    if ":" in name:
        return FunctionMetric.of(name)
    if name not in _METRICS:
        raise UsageError(f"--metric: unknown name '{name}'", hint=f"names are {', '.join(_METRICS)}, FILE.py:function")
    return _METRICS[name](interface, labels)


def _auto(interface: ModelInterface, labels: Labels) -> Metric[Any]:
    if interface.class_output is None or class_labels(labels) is None:
        return fidelity(interface)
    return TopK.of(1, interface, labels)


_METRICS: Mapping[str, Callable[[ModelInterface, Labels], Metric[Any]]] = {
    "auto": _auto,
    "top1": lambda interface, labels: TopK.of(1, interface, labels),
    "top5": lambda interface, labels: TopK.of(5, interface, labels),
    "fidelity": lambda interface, _: fidelity(interface),
}
