"""Real models, damaged by chance: an exit code of the table, no traceback, an end, and a bound on memory. Always."""

from collections import Counter
from shutil import rmtree

import numpy as np
import pytest
from commands import TABLE
from mutations import damaged, real_models

MEMORY_BYTES = 3 << 29
EMITTED = "emitted"
INSPECTING = ("inspect", "bad.onnx")
RARELY = {
    29: ("compile", "bad.onnx", "--budget", "60%", "--target", "null", "--dry-run"),
    31: ("emit", "bad.onnx", "-o", EMITTED),
}
"""Of how many cases one is for a slow command. These share no factor with the number of models: each has its turn."""


def command_for(number):
    """Return the command that a case is for."""
    return next((command for every, command in RARELY.items() if number % every == 0), INSPECTING)


def verdict(commands, folder, content, command):
    """Run a command on a file; return its exit code, or what it did that it must never do."""
    (folder / "bad.onnx").write_bytes(content)
    outcome = commands.run(command, folder)
    rmtree(folder / EMITTED, ignore_errors=True)
    if outcome.code not in TABLE:
        return f"{outcome.code}: {outcome.stderr.strip()[-300:]}"
    if "Traceback" in outcome.stderr:
        return outcome.stderr
    if outcome.memory_bytes > MEMORY_BYTES:
        return f"{outcome.memory_bytes >> 20} MiB"
    return outcome.code


def fuzz(commands, folder, cases, seed):
    """Damage models and run them; return how often each exit code came, and the seeds of what must not happen."""
    models, codes, defects = real_models(), Counter(), {}
    for number in range(cases):
        generator = np.random.default_rng((seed, number))
        content = damaged(models[number % len(models)], generator)
        found = verdict(commands, folder, content, command_for(number))
        if isinstance(found, str):
            defects[seed, number] = found
        codes[found if isinstance(found, int) else "defect"] += 1
    for case, found in defects.items():
        print(f"{case}: {found}")
    print(f"{cases} damaged models: exit codes {dict(sorted(codes.items(), key=str))}")
    return codes, defects


def test_damaged_models_are_refused_or_read(commands, folder):
    codes, defects = fuzz(commands, folder, 300, seed=0)
    assert not defects
    assert codes[3] > 100
    assert codes[0] > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_damaged_models_are_refused_or_read_however_many(commands, folder, seed):
    codes, defects = fuzz(commands, folder, 250, seed)
    assert not defects
    assert codes[3] > 50
