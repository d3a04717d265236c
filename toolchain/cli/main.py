"""`prunec`: parse, dispatch, and turn errors into one line and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType

import typer

from toolchain import __version__
from toolchain.cli import store
from toolchain.cli.bench import bench
from toolchain.cli.build import build
from toolchain.cli.compile import compile_command
from toolchain.cli.emit import emit
from toolchain.cli.finetune import finetune_command
from toolchain.cli.inspect import inspect
from toolchain.cli.list_passes import list_passes
from toolchain.cli.profile import profile
from toolchain.cli.schema import schema
from toolchain.cli.terminal import Terminal
from toolchain.cli.verify import verify
from toolchain.errors import NO_ROOM, ExitCode, Interrupted, NoRoom, PrunecError

app = typer.Typer(
    name="prunec",
    help="A pruning compiler for CNNs: ONNX in, a timed and verified engine out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("compile")(compile_command)
app.command("build")(build)
app.command("emit")(emit)
app.command("finetune", context_settings={"allow_extra_args": True})(finetune_command)
app.command("inspect")(inspect)
app.command("bench")(bench)
app.command("profile")(profile)
app.command("verify")(verify)
app.command("schema")(schema)
app.command("passes")(list_passes)
app.add_typer(store.app, name="store")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"prunec {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    del version


def _arguments(given: list[str]) -> list[str]:
    """Take `prunec MODEL.onnx ...` for `prunec compile MODEL.onnx ...`, as a container is run."""
    return ["compile", *given] if given and given[0].lower().endswith(".onnx") else given


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End by an exception, so that what is half done is cleaned up; PID 1 of a container has no other ending."""
    del number, frame
    raise Interrupted


class _Warnings(logging.Handler):
    """What modules without a terminal have to say."""

    def emit(self, record: logging.LogRecord) -> None:
        Terminal().warn(record.getMessage())


def main() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    logging.getLogger("toolchain").addHandler(_Warnings())
    try:
        _run()
    except PrunecError as error:
        Terminal().error(str(error))
        sys.exit(error.exit_code)
    except Interrupted:
        Terminal().error("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:  # noqa: BLE001  the last resort, told in one line
        sys.exit(_report_unforeseen(error))


def _run() -> None:
    """Run the command; what it printed has arrived when its exit code says so."""
    try:
        app(prog_name="prunec", args=_arguments(sys.argv[1:]))
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's end tries again
            raise


def _report_unforeseen(error: Exception) -> ExitCode:
    """Say that a disk is full, which any write may find, or that this is a defect of this tool.

    Nothing is said where what reads the output has gone.
    """
    if isinstance(error, BrokenPipeError):
        return ExitCode.INTERNAL
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        Terminal().error(str(NoRoom(str(error.strerror).lower())))
        return NoRoom.exit_code
    _report_defect(error)
    return ExitCode.INTERNAL


def _report_defect(error: Exception) -> None:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
    hint = "this is a defect of prunec, please report it with the command and the model"
    Terminal().error(f"internal error: {error!r} at {place}; {hint}")


if __name__ == "__main__":
    main()
