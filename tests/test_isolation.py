"""What runs apart can end in every way there is; this process goes on and is told."""

import signal
import sys

import pytest

from toolchain.isolation import Allowance, run_isolated

ALLOWANCE = Allowance(processor_seconds=1, memory_bytes=64 << 20)
ENTER = "from toolchain.isolation import Allowance; Allowance(1, 64 << 20).enter()\n"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Write a module that can be run by its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(text):
        (tmp_path / "program.py").write_text(text)
        return "program"

    return write


def test_what_ends_well_is_heard(program):
    module = program(ENTER + "import sys; print(sys.stdin.read().upper(), end='')")
    ending = run_isolated(module, "hello", ALLOWANCE)
    assert (ending.output, ending.signal, ending.is_out_of_time) == ("HELLO", 0, False)


def test_what_does_not_end_is_ended(program):
    ending = run_isolated(program(ENTER + "while True: pass"), "", ALLOWANCE)
    assert ending.is_out_of_time


def test_what_crashes_takes_nothing_with_it(program):
    ending = run_isolated(program("import os; os.kill(os.getpid(), 11)"), "", ALLOWANCE)
    assert (ending.signal, ending.is_out_of_time) == (signal.SIGSEGV, False)


def test_memory_is_bounded(program):
    text = "try:\n    bytearray(1 << 30)\nexcept MemoryError:\n    print('refused')\n"
    assert run_isolated(program(ENTER + text), "", ALLOWANCE).output == "refused\n"


def test_it_is_this_very_package_that_is_imported(program):
    ending = run_isolated(program("import sys, toolchain; print(sys.executable, toolchain.__file__)"), "", ALLOWANCE)
    import toolchain

    assert ending.output == f"{sys.executable} {toolchain.__file__}\n"
