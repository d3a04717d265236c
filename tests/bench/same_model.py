"""Count how often the protocol errs: an engine against itself, and against one that does 5 % more work.

    python tests/bench/same_model.py [--runs 20] [--threads 0] [--load]

Prints verdicts, the spread of the ratios, and seconds per comparison, and keeps them in results/same_model.json, one
entry a pair of engines and load. `--load` keeps another core busy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolchain.measure.comparison import Comparison
from toolchain.measure.protocol import Protocol, compare
from toolchain.targets.engine import Identity
from toolchain.targets.registry import create

RESULTS = Path(__file__).parent / "results" / "same_model.json"
BASE_LAYERS = 20
BUSY = "import os; os.sched_setaffinity(0, {cores})\nwhile True: pass"


@dataclass(frozen=True)
class Outcome:
    """How often two engines were compared, and what was said."""

    what: str
    loaded: bool
    """Whether another process kept another core busy."""
    verdicts: dict[str, int]
    ratios: tuple[float, ...]
    half_width: float
    """The median of those of all comparisons."""
    converged: int
    seconds_each: float
    device: str
    runtime: str
    threads: int
    load_average: float
    date: str


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
    """Keep another process computing meanwhile, on a core that this process does not use if it is bound to some."""
    if not wanted:
        yield
        return
    own, every = os.sched_getaffinity(0), set(range(os.cpu_count() or 1))
    with subprocess.Popen([sys.executable, "-c", BUSY.format(cores=every - own or every)]) as process:
        try:
            yield
        finally:
            process.kill()


def report(outcome: Outcome) -> None:
    """Print one line, and keep the outcome in place of the last one of its kind."""
    counts = ", ".join(f"{verdict} {count}" for verdict, count in outcome.verdicts.items())
    print(
        f"{outcome.what}{', loaded' * outcome.loaded}: {counts} of {len(outcome.ratios)}; "
        f"ratio {min(outcome.ratios):.4f} to {max(outcome.ratios):.4f}, half-width {outcome.half_width:.2%}, "
        f"converged {outcome.converged}, {outcome.seconds_each:.1f} s each",
        flush=True,
    )
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    others = [item for item in kept if (item["what"], item["loaded"]) != (outcome.what, outcome.loaded)]
    RESULTS.write_text(json.dumps([*others, asdict(outcome)]).replace("}, {", "},\n{") + "\n")


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
            seconds = (time.perf_counter() - start) / arguments.runs
            report(_outcome(name, found, target.identity(), arguments, seconds))


def _outcome(what: str, found: list[Comparison], identity: Identity, given: argparse.Namespace, each: float) -> Outcome:
    return Outcome(
        what=what,
        loaded=given.load,
        verdicts=dict(Counter(one.verdict for one in found)),
        ratios=tuple(round(one.ratio, 5) for one in found),
        half_width=round(float(np.median([one.half_width for one in found])), 5),
        converged=sum(one.converged for one in found),
        seconds_each=round(each, 1),
        device=identity.device,
        runtime=identity.runtime,
        threads=given.threads,
        load_average=round(os.getloadavg()[1], 1),
        date=datetime.now(UTC).date().isoformat(),
    )


if __name__ == "__main__":
    main()
