"""Lines as `nvidia-smi --query-gpu=... --format=csv,noheader,nounits` writes them."""

import os
from pathlib import Path

import pytest

from toolchain.measure.gpu_state import FIELDS, REASON_FIELDS, GpuState, GpuStates, parse_gpu_state, read_gpu_state

CALM = "1980, 1980, 41, 118.52, 0x0000000000000000\n"
HOT = "1410, 1980, 87, 402.10, 0x0000000000000024\n"
SLOWER = "1200, 1980, 41, 90.00, 0x0000000000000000\n"
IDLE = "345, 1980, 33, 68.90, 0x0000000000000001\n"


def test_a_line_is_read_with_its_units():
    assert parse_gpu_state(CALM) == GpuState(1980, 1980, 41, 118.52)


def test_reasons_to_be_slower_are_named_and_being_idle_is_none():
    assert parse_gpu_state(HOT).throttled_by == ("power limit", "thermal slowdown")
    assert parse_gpu_state(IDLE).throttled_by == ()
    assert [parse_gpu_state(text).idle for text in (CALM, HOT, IDLE)] == [False, False, True]


def test_what_the_driver_does_not_tell_is_none():
    assert parse_gpu_state("1300, [N/A], 45, [N/A], [Not Supported]") == GpuState(1300, None, 45, None)


@pytest.mark.parametrize("text", ["", "No devices were found\n", "1980, 1980\n", "a,b,c,d,e,f"])
def test_anything_else_is_no_state(text):
    assert parse_gpu_state(text) is None


def states(before: str, after: str) -> GpuStates:
    return GpuStates(parse_gpu_state(before), parse_gpu_state(after))


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (CALM, CALM, ""),
        (CALM, HOT, "the GPU was slowed down while it was timed: power limit, thermal slowdown"),
        (SLOWER, CALM, "the GPU's clock changed from 1200 to 1980 MHz while it was timed"),
        (IDLE, CALM, ""),
        ("[N/A], [N/A], 45, [N/A], [N/A]", CALM, ""),
    ],
)
def test_a_timing_under_another_clock_is_complained_of(before, after, complaint):
    assert states(before, after).complaint == complaint


def program(folder: Path, lines: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


@pytest.fixture
def path(monkeypatch, tmp_path) -> Path:
    """A folder that is searched for programs first."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize("reasons", REASON_FIELDS)
def test_the_program_is_asked_in_the_words_of_new_and_old_drivers(reasons, path):
    query = ",".join((*FIELDS, reasons))
    program(path, f'[ "$1" = "--query-gpu={query}" ] && [ "$3" = "--id=0" ] && echo "{CALM.strip()}"')
    assert read_gpu_state() == parse_gpu_state(CALM)


def test_a_program_that_fails_leaves_the_state_unknown(path):
    program(path, "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver'; exit 9")
    assert read_gpu_state() is None


def test_without_the_program_the_state_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_gpu_state() is None
