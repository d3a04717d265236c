"""What tests of graphs share: graphs as text, random feeds and plans, and the mask oracle with all checks around it."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from toolchain.graph.analysis import Analysis, analyse, rule_table
from toolchain.graph.facts import Binding, bind_symbols, infer_facts
from toolchain.graph.hashing import model_sha256
from toolchain.graph.index import GraphIndex
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import Feeds, Outputs, Verdict, compare_with_masked
from toolchain.graph.plan import Plan, make_plan
from toolchain.graph.rule import Rule
from toolchain.graph.surgery import Surgery, apply_plan
from toolchain.registry import scan

RULES = rule_table(scan("passes.rules", Rule))


LARGEST_ERROR = 1e-4
"""What pruned and masked may differ by, relative to the largest output, however noisy the runtime is."""


@dataclass(frozen=True)
class Pruned:
    """One pruned model and how it came about."""

    analysis: Analysis
    plan: Plan
    surgery: Surgery

    @property
    def model(self) -> onnx.ModelProto:
        return self.surgery.model

    def node(self, op: str) -> onnx.NodeProto:
        """Return the first node of an op in the pruned model."""
        return next(node for node in self.model.graph.node if node.op_type == op)

    def shape(self, parameter: str) -> tuple[int, ...]:
        """Return a parameter's shape in the pruned model."""
        return tuple(next(item.dims for item in self.model.graph.initializer if item.name == parameter))


def graph(text: str, *, opset: int = 20, seed: int = 0) -> onnx.ModelProto:
    """Parse a graph in ONNX's text format; tensors declared in <> that no node makes become random parameters."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {text}')
    made = {name for node in model.graph.node for name in node.output}
    made |= {item.name for item in (*model.graph.initializer, *model.graph.output)}
    rng = np.random.default_rng(seed)
    for item in model.graph.value_info:
        if item.name not in made:
            model.graph.initializer.append(_random_parameter(item, rng))
    del model.graph.value_info[:]
    return model


def sandwich(
    body: str, *, declared: str = "", opset: int = 20, width: int = 8, result_width: int | None = None
) -> onnx.ModelProto:
    """Put a body, which makes `z` of `a` (and `c`), between convolutions: x -> Conv -> a, c; z -> Conv -> y.

    `a` and `c` are (N, width, 8, 8); `z` is (N, result_width, ...) of rank 4.
    """
    second = "c = Conv(x, c_weight, c_bias)" if re.search(r"\bc\b", body) else ""
    names = ["a", "c"] if second else ["a"]
    stem = [f"float[{width},3,1,1] {n}_weight, float[{width}] {n}_bias" for n in names]
    parameters = [*stem, f"float[5,{result_width or width},1,1] y_weight", *([declared] if declared else [])]
    return graph(
        f"""net (float[N,3,8,8] x) => (float[N,5,P,Q] y) <{", ".join(parameters)}> {{
            a = Conv(x, a_weight, a_bias)
            {second}
            {body}
            y = Conv(z, y_weight)
        }}""",
        opset=opset,
    )


def analysed(model: onnx.ModelProto, binding: Binding | None = None, *, allow_inexact: bool = False) -> Analysis:
    """Normalise and analyse with the rules of `passes`."""
    return analyse(normalise(model), RULES, binding=binding, allow_inexact=allow_inexact)


def widths(model: onnx.ModelProto) -> dict[str, int]:
    """Return the prunable groups' widths by name."""
    return {group.name: group.width for group in analysed(model).prunable_groups}


def reasons(model: onnx.ModelProto) -> dict[str, str]:
    """Return why each frozen group is frozen, by name."""
    return {group.name: str(group.reason) for group in analysed(model).groups if group.reason}


def random_feeds(model: onnx.ModelProto, seed: int, binding: Binding) -> Feeds:
    """Return normal floats, and zeros and ones for other types."""
    rng = np.random.default_rng(seed)
    index = GraphIndex(model)
    facts = infer_facts(index, binding)
    feeds: dict[str, npt.NDArray[np.generic]] = {}
    for item in index.inputs:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(facts[item.name].dtype)
        shape = facts[item.name].shape or ()
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        feeds[item.name] = np.asarray(values).astype(dtype)
    return feeds


def random_removal(analysis: Analysis, ratio: float, seed: int) -> dict[str, Sequence[int]]:
    """Choose this share of each group's units, one at least and never all."""
    rng = np.random.default_rng(seed)
    counts = {
        group.name: min(group.width - 1, max(1, round(group.width * ratio))) if ratio else 0
        for group in analysis.prunable_groups
    }
    return {name: [int(i) for i in rng.permutation(analysis.by_name[name].width)[:n]] for name, n in counts.items()}


def execute(model: onnx.ModelProto, feeds: Feeds, optimise: bool = False) -> Outputs:
    """Run a model in ONNX Runtime on one core."""
    level = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def prune(
    model: onnx.ModelProto, removed: Mapping[str, Sequence[int]] | None = None, *, allow_inexact: bool = False
) -> Pruned:
    """Remove these positions by group name (half of every group where nothing is said)."""
    analysis = analysed(model, allow_inexact=allow_inexact)
    chosen = random_removal(analysis, 0.5, 0) if removed is None else removed
    plan = make_plan(analysis, model_sha256(analysis.model), chosen)
    return Pruned(analysis, plan, apply_plan(analysis, plan))


def assert_pruned_equals_masked(
    model: onnx.ModelProto,
    ratio: float = 0.5,
    seed: int = 0,
    *,
    removed: Mapping[str, Sequence[int]] | None = None,
    powered: bool = True,
    largest_error: float = LARGEST_ERROR,
) -> Pruned:
    """Prune at random (or what is given), and hold the result to the checker, the interface and the mask oracle.

    Every symbolic dimension is bound to two numbers in turn, so that a size that was baked in is found.
    """
    analysis = analysed(model)
    result = prune(model, random_removal(analysis, ratio, seed) if removed is None else removed)
    assert result.plan.removals, "nothing was removed: the check would be vacuous"
    assert_valid(result)
    for variant in (0, 1) if analysis.binding else (0,):
        verdict = _compare(result, seed, bind_symbols(analysis.model, variant=variant))
        assert verdict.equal, f"{verdict} after {result.plan.removals}, sizes {variant}"
        assert verdict.relative_error <= largest_error, f"{verdict} after {result.plan.removals}, sizes {variant}"
        assert verdict.powered or not powered, f"no power: {verdict} after {result.plan.removals}"
    return result


def assert_valid(result: Pruned) -> None:
    """Hold a pruned model to the checker, strict shape inference and the original's interface."""
    onnx.checker.check_model(result.model, full_check=True)
    onnx.shape_inference.infer_shapes(result.model, check_type=True, strict_mode=True, data_prop=True)
    before, after = result.analysis.model.graph, result.model.graph
    assert [*before.input] == [*after.input]
    assert [*before.output] == [*after.output]


def _compare(result: Pruned, seed: int, binding: Binding) -> Verdict:
    original = result.analysis.model
    feeds = random_feeds(original, seed, binding)
    return compare_with_masked(original, result.model, result.surgery.kept, feeds, execute)


def _random_parameter(item: onnx.ValueInfoProto, rng: np.random.Generator) -> onnx.TensorProto:
    """Draw values whose layers keep the scale of what passes through; variances are positive."""
    shape = tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim)
    fan_in = max(1, int(np.prod(shape[1:]))) if len(shape) > 1 else 1
    values = np.asarray(rng.standard_normal(shape) / np.sqrt(fan_in))
    if item.name.endswith("variance"):
        values = np.abs(values) + 0.5
    dtype = onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
    return numpy_helper.from_array(values.astype(dtype), item.name)
