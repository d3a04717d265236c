"""Count how often the protocol errs: an engine against itself, and against one that does 5 % more work.

    python tests/bench/same_model.py [--runs 20] [--threads 0] [--load]

Prints verdicts, the spread of the ratios, and seconds per comparison. `--load` keeps one other core busy.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolchain.measure.comparison import Comparison
from toolchain.measure.protocol import Protocol, compare
from toolchain.targets.registry import create

BASE_LAYERS = 20


def conv_chain(layers: int, rng: np.random.Generator) -> onnx.ModelProto:
    """Build `layers` equal 3x3 convolutions of 64 channels on 16x16, each with a Relu."""
    nodes, weights, tensor = [], [], "x"
    for number in range(layers):
        kernel = rng.standard_normal((64, 64, 3, 3), np.float32) / 24
        weights.append(numpy_helper.from_array(kernel, f"w{number}"))
        nodes.append(helper.make_node("Conv", [tensor, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        tensor = f"r{number}"
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64, 16, 16]) for name in ("x", tensor)]
    graph = helper.make_graph(nodes, "chain", value[:1], value[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@contextmanager
def busy_core(wanted: bool) -> Iterator[None]:
    """Keep another process computing meanwhile."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def report(name: str, found: list[Comparison], seconds: float) -> None:
    """Print one line of counts."""
    ratios = np.array([one.ratio for one in found])
    counts = ", ".join(f"{verdict} {count}" for verdict, count in Counter(one.verdict for one in found).items())
    half_width = float(np.median([one.half_width for one in found]))
    converged = sum(one.converged for one in found)
    print(
        f"{name}: {counts} of {len(found)}; ratio {ratios.min():.4f} to {ratios.max():.4f}, "
        f"half-width {half_width:.2%}, converged {converged}, {seconds / len(found):.1f} s each",
        flush=True,
    )


def main() -> None:
    """Run both counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--load", action="store_true", help="keep one core busy meanwhile")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    target = create("onnxruntime", f"threads={arguments.threads}")
    feeds = {"x": rng.standard_normal((1, 64, 16, 16), np.float32)}
    with tempfile.TemporaryDirectory() as folder, busy_core(arguments.load):
        base, longer = (target.build(conv_chain(n, rng), Path(folder)) for n in (BASE_LAYERS, BASE_LAYERS + 1))
        for name, candidate in (("same engine", base), ("5 % more work", longer)):
            start = time.perf_counter()
            found = [
                compare(target, base, candidate, feeds, protocol=Protocol(), rng=rng) for _ in range(arguments.runs)
            ]
            report(name, found, time.perf_counter() - start)


if __name__ == "__main__":
    main()
