"""Fold the constants of a model that nobody here knows where it can do no harm: folding runs nodes.

`python -m toolchain.cli.folding` is the process that does it. What it makes comes back in a file, and is not made
again here: GraphSurgeon leaves alone what it has no memory for, so that a trial would tell nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from pydantic import BaseModel

from toolchain.cli.compose import can_fold, fold_constants
from toolchain.emit.bundle import save_model
from toolchain.graph.cost import Cost
from toolchain.graph.facts import Binding, bind_symbols, infer_facts
from toolchain.graph.index import GraphIndex
from toolchain.graph.load import LoadedModel
from toolchain.graph.normalise import normalise
from toolchain.isolation import Allowance, run_isolated
from toolchain.scratch import scratch_folder
from toolchain.trial import allowance_for, answer_with, check_ending


class _Request(BaseModel):
    model: Path
    folded: Path
    processor_seconds: int
    memory_bytes: int


def folded_apart(loaded: LoadedModel, binding: Binding | None) -> onnx.ModelProto:
    """Return the normalised model with its constants folded, by a process that may take no more than it should.

    Raises ModelError where folding does not end or crashes the runtime, and where shapes contradict each other.
    """
    model = loaded.normalised
    if not can_fold(model):
        return model
    facts = infer_facts(GraphIndex(model), bind_symbols(model, overrides=binding))
    allowance = allowance_for(facts, Cost(parameters=0, macs=0))
    with scratch_folder("prunec-fold-") as folder:
        request = _Request(
            model=loaded.path.absolute(),
            folded=folder / "folded.onnx",
            processor_seconds=allowance.processor_seconds,
            memory_bytes=allowance.memory_bytes,
        )
        ending = run_isolated("toolchain.cli.folding", request.model_dump_json(), allowance)
        check_ending(ending, loaded.path, allowance)
        return onnx.load(request.folded)


def main() -> None:
    """Answer one request: read from standard input, answered on standard output."""
    request = _Request.model_validate_json(sys.stdin.read())
    Allowance(request.processor_seconds, request.memory_bytes).enter()

    def fold() -> None:
        save_model(fold_constants(normalise(onnx.load(request.model))), request.folded)

    answer_with(fold, "folding its constants", request.memory_bytes)


if __name__ == "__main__":
    main()
