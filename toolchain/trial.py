"""The trial: run a model that nobody here knows once, where it can do no harm.

ONNX's checker accepts models that no runtime can run, that never end, that need more memory than any machine has, or
that end the runtime's process: only running them tells. `python -m toolchain.trial` is the process that does it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from math import prod
from pathlib import Path

import numpy as np
import onnx
from pydantic import BaseModel, ValidationError

from toolchain.errors import ModelError, PrunecError
from toolchain.graph.analysis import analyse
from toolchain.graph.cost import Cost, CostModel
from toolchain.graph.deployment import random_feeds
from toolchain.graph.facts import Binding, Fact
from toolchain.graph.load import LoadedModel
from toolchain.graph.normalise import normalise
from toolchain.graph.rule import Rule
from toolchain.isolation import Allowance, Ending, run_isolated

BASE_SECONDS = 2
MACS_PER_SECOND = 250_000_000
"""A slow core without vector units; twice, since the model is run with and without optimisation."""
BASE_BYTES = 512 << 20
BYTES_PER_ELEMENT = 32
"""Eight times a float: layouts are changed, arenas grow by doubling."""


class _Request(BaseModel):
    model: Path
    binding: dict[str, int] | None
    processor_seconds: int
    memory_bytes: int


class Answer(BaseModel):
    """What a process that ran a model has to say against it."""

    refusal: str = ""


def allowance_for(facts: Mapping[str, Fact], cost: Cost) -> Allowance:
    """Return what a run may take: a small constant, and many times what its arithmetic and tensors need."""
    elements = cost.parameters + sum(prod(fact.shape) for fact in facts.values() if fact.shape is not None)
    seconds = BASE_SECONDS + 2 * cost.macs // MACS_PER_SECOND + BYTES_PER_ELEMENT * elements // MACS_PER_SECOND
    return Allowance(seconds, BASE_BYTES + BYTES_PER_ELEMENT * elements)


def try_model(loaded: LoadedModel, rules: Mapping[str, Rule], binding: Binding | None) -> None:
    """Try a model out, given what its arithmetic and tensors need at these sizes; `None`: load it, do not run it.

    Raises ModelError as `try_out` does, and where the shapes contradict each other.
    """
    analysis = analyse(loaded.normalised, rules, binding=binding)
    try_out(loaded.path, binding, allowance_for(analysis.facts, CostModel(analysis, rules).total))


def try_out(path: Path, binding: Binding | None, allowance: Allowance) -> None:
    """Load a model and run it once on random inputs, in a process that may take no more than `allowance`.

    Raises ModelError where it cannot be loaded or run, does not end, needs too much memory, or crashes the runtime.
    """
    request = _Request(
        model=path.absolute(),
        binding=None if binding is None else dict(binding),
        processor_seconds=allowance.processor_seconds,
        memory_bytes=allowance.memory_bytes,
    )
    ending = run_isolated("toolchain.trial", request.model_dump_json(), allowance)
    check_ending(ending, path, allowance)


def check_ending(ending: Ending, path: Path, allowance: Allowance) -> None:
    """Raise ModelError unless the process that ran a model ended well, and had nothing to say against it."""
    if ending.is_out_of_time:
        what = f"{path}: one run does not end within {allowance.processor_seconds} seconds of processor time"
        raise ModelError(what, hint="is there a loop without end in it?")
    if ending.signal:
        what = f"{path}: running it crashes ONNX Runtime ({signal.Signals(ending.signal).name})"
        raise ModelError(what, hint="check the model with its exporter")
    try:
        answer = Answer.model_validate_json(ending.output)
    except ValidationError as error:
        raise PrunecError(f"{path}: the process that tried it ended without an answer") from error
    if answer.refusal:
        raise ModelError(f"{path}: {answer.refusal}", hint="check the model with its exporter")


def answer_with(run: Callable[[], None], what: str, memory_bytes: int) -> None:
    """Run a model in a process of its own and print the answer; `what` is what it does, for people."""
    try:
        with redirect_stdout(sys.stderr):  # runtimes print; the answer must stand alone
            run()
        answer = Answer()
    except MemoryError:
        answer = Answer(refusal=f"{what} needs more than {memory_bytes >> 20} MiB of memory")
    except ModelError as error:
        answer = Answer(refusal=str(error))
    print(answer.model_dump_json())


def main() -> None:
    """Answer one request: read from standard input, answered on standard output."""
    from toolchain.targets.onnxruntime import ReferenceSession

    request = _Request.model_validate_json(sys.stdin.read())
    Allowance(request.processor_seconds, request.memory_bytes).enter()
    model = normalise(onnx.load(request.model))
    feeds = None if request.binding is None else random_feeds(model, request.binding, np.random.default_rng(0))

    def run() -> None:
        try:
            for optimise in (False, True):
                session = ReferenceSession(model, optimise=optimise)
                if feeds is not None:
                    session.run(feeds)
        except UnicodeDecodeError as error:  # it quotes a string of the model that is no text
            raise ModelError("ONNX Runtime cannot load the model: a string in it is not UTF-8") from error

    answer_with(run, "one run", request.memory_bytes)


if __name__ == "__main__":
    main()
