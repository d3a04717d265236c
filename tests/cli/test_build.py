"""What `prunec build` says of a machine that lacks something; engines that are built are in tests/targets."""

import importlib.util
import json
import logging

import onnx
import pytest
from command import ROOT, prunec

from toolchain.cli.main import _Warnings

MISSING = pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="tensorrt is installed")
RTX = ("--target", "tensorrt-rtx", "--compute-capability", "8.9")


def build(folder, *options, environ=None):
    return prunec("build", "net.onnx", "-o", "net.engine", *options, cwd=folder, environ=environ)


def test_an_engine_and_its_target_are_told(folder):
    done = build(folder, "--target", "onnxruntime", "--json")
    assert (done.code, done.stderr) == (0, "")
    figure = json.loads(done.stdout)
    assert figure["bytes"] == (folder / "net.engine").stat().st_size
    assert figure["builds_ms"] == []
    assert len(onnx.load(folder / "net.engine").graph.node) > 0


def test_an_engine_that_cannot_be_written_is_not_built(folder):
    done = prunec("build", "net.onnx", "-o", "absent/net.engine", "--target", "null", cwd=folder)
    assert (done.code, done.stderr) == (
        2,
        "prunec: -o absent/net.engine: cannot be written (No such file or directory); "
        "name a folder that can be written\n",
    )


@pytest.mark.parametrize("target", ["onnxruntime", "null"])
def test_a_target_whose_builds_are_alike_is_not_built_several_times(target, folder):
    done = build(folder, "--target", target, "--builds", "3")
    assert (done.code, done.complaint) == (
        2,
        f"prunec: --builds 3: target {target} does not choose kernels by timing, so its builds are all alike; "
        "leave --builds out",
    )
    assert not (folder / "net.engine").exists()


@MISSING
@pytest.mark.parametrize("options", [(), ("--builds", "3"), ("--target-options", "builds=3,best=median")])
def test_a_library_that_is_not_installed_is_6(options, folder):
    done = build(folder, "--target", "tensorrt", *options)
    assert (done.code, done.complaint) == (
        6,
        "prunec: target tensorrt: the package tensorrt is not installed; pip install 'prunec[tensorrt]'",
    )


@MISSING
@pytest.mark.parametrize("command", ["bench net.onnx net.onnx", "compile net.onnx --macs 50%", "profile net.onnx"])
def test_other_commands_say_so_too(command, folder):
    done = prunec(*command.split(), "--target", "tensorrt", cwd=folder)
    assert done.code == 6
    assert done.complaint.endswith("the package tensorrt is not installed; pip install 'prunec[tensorrt]'")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("builds=0", "target tensorrt: builds=0; input should be greater than or equal to 1"),
        ("best=slowest", "target tensorrt: best=slowest; input should be 'fastest' or 'median'"),
        ("timed_on=paper", "target tensorrt: timed_on=paper; input should be 'host' or 'device'"),
    ],
)
def test_options_are_checked_before_the_library(options, complaint, folder):
    done = build(folder, "--target", "tensorrt", "--target-options", options)
    assert (done.code, done.complaint) == (2, f"prunec: {complaint}")


def test_a_library_that_cannot_be_loaded_is_6(folder):
    package = folder / "site" / "tensorrt_rtx"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('libtensorrt_rtx.so.1: cannot open shared object file')\n")
    done = build(folder, *RTX, environ={"PYTHONPATH": f"{package.parent}:{ROOT}"})
    assert (done.code, done.complaint) == (
        6,
        "prunec: target tensorrt-rtx: the package tensorrt_rtx cannot be loaded: libtensorrt_rtx.so.1: cannot open "
        "shared object file; pip install --force-reinstall 'prunec[tensorrt-rtx]'",
    )
    assert not (folder / "net.engine").exists()


def test_warnings_of_modules_without_a_terminal_are_one_line_on_stderr(capsys):
    record = logging.makeLogRecord({"msg": "the cache %s is damaged", "args": ("timings",)})
    _Warnings().emit(record)
    assert capsys.readouterr() == ("", "warning: the cache timings is damaged\n")
