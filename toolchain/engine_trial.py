"""The trial of an engine: load it and run it once, where it can do no harm.

Loading an engine runs native code on bytes that came from somewhere. `python -m toolchain.engine_trial` is the process
that does it; its answer says which inputs the engine takes.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from polygraphy.backend.base import BaseRunner
from polygraphy.datatype import DataType
from pydantic import BaseModel, ValidationError

from toolchain.errors import EnvironmentMissing, ModelError, PrunecError, UsageError
from toolchain.isolation import Allowance, Ending, run_isolated
from toolchain.measure.inputs import Input, Sizes, inputs_of, interface_of, random_inputs
from toolchain.targets import registry as targets
from toolchain.targets.contract import Target
from toolchain.targets.engine import Engine, Identity

PROCESSOR_SECONDS = 120
BASE_BYTES = 2 << 30
BYTES_PER_BYTE = 16
UNBOUNDED_BYTES = 1 << 50
"""For a GPU, whose driver reserves more addresses than there is memory."""

_KINDS = {kind.__name__: kind for kind in (ModelError, UsageError, EnvironmentMissing)}


class _Request(BaseModel):
    path: Path
    target: str
    options: str
    identity: Identity
    sizes: Sizes
    processor_seconds: int
    memory_bytes: int


class _Answer(BaseModel):
    inputs: tuple[Input, ...] = ()
    refusal: str = ""
    kind: str = ModelError.__name__


def allowance_of_engine(engine: Engine) -> Allowance:
    """Return what one run of an engine may take whose arithmetic nobody knows."""
    return Allowance(PROCESSOR_SECONDS, BASE_BYTES + BYTES_PER_BYTE * engine.path.stat().st_size)


def try_engine(target: Target, engine: Engine, sizes: Sizes, allowance: Allowance) -> tuple[Input, ...]:
    """Load an engine and run it once on random inputs, in a process of its own; return these inputs.

    Raises what loading and running raise here, and ModelError where the engine does not end, needs too much memory, or
    crashes its runtime.
    """
    on_gpu = bool(target.identity().driver)
    request = _Request(
        path=engine.path.absolute(),
        target=target.name,
        options=",".join(f"{name}={value}" for name, value in target.options),
        identity=engine.identity,
        sizes=sizes,
        processor_seconds=allowance.processor_seconds,
        memory_bytes=UNBOUNDED_BYTES if on_gpu else allowance.memory_bytes,
    )
    ending = run_isolated("toolchain.engine_trial", request.model_dump_json(), allowance)
    return _inputs_in(ending, engine.path, target, allowance)


def _inputs_in(ending: Ending, path: Path, target: Target, allowance: Allowance) -> tuple[Input, ...]:
    hint = "build it again from a model that you trust"
    if ending.is_out_of_time:
        what = f"{path}: one run does not end within {allowance.processor_seconds} seconds of processor time"
        raise ModelError(what, hint=hint)
    if ending.signal:
        what = f"{path}: running it crashes target {target.name} ({signal.Signals(ending.signal).name})"
        raise ModelError(what, hint=hint)
    try:
        answer = _Answer.model_validate_json(ending.output)
    except ValidationError as error:
        raise PrunecError(f"{path}: the process that tried it ended without an answer") from error
    if answer.refusal:
        raise _KINDS[answer.kind](f"{path}: {answer.refusal}")
    return answer.inputs


def _answer(run: Callable[[], tuple[Input, ...]], memory_bytes: int) -> _Answer:
    try:
        with redirect_stdout(sys.stderr):  # runtimes print; the answer must stand alone
            return _Answer(inputs=run())
    except MemoryError:
        return _Answer(refusal=f"one run needs more than {memory_bytes >> 20} MiB of memory")
    except tuple(_KINDS.values()) as error:
        kind = next(name for name, kind in _KINDS.items() if isinstance(error, kind))
        return _Answer(refusal=str(error), kind=kind)


def _run_once(runner: BaseRunner, sizes: Sizes) -> tuple[Input, ...]:
    metadata = runner.get_input_metadata(use_numpy_dtypes=False)
    ports = [
        (name, DataType.to_dtype(item.dtype, "onnx"), [_size(size) for size in item.shape])
        for name, item in metadata.items()
    ]
    interface = interface_of(ports)
    inputs = inputs_of(interface, sizes.binding(interface))
    runner.infer(random_inputs(inputs, np.random.default_rng(0)), check_inputs=False)
    return inputs


def _size(size: int | str | None) -> int | str | None:
    """Return a size; None where it is open, which TensorRT writes as -1."""
    return None if isinstance(size, int) and size < 0 else size


def main() -> None:
    """Answer one request: read from standard input, answered on standard output."""
    request = _Request.model_validate_json(sys.stdin.read())
    target = targets.create(request.target, request.options)
    Allowance(request.processor_seconds, request.memory_bytes).enter()

    def run() -> tuple[Input, ...]:
        with target.runner(Engine(request.path, request.identity, "", "")) as runner:
            return _run_once(runner, request.sizes)

    print(_answer(run, request.memory_bytes).model_dump_json())


if __name__ == "__main__":
    main()
