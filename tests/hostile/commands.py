"""Run `prunec` thousands of times: one process imports it once and forks for every command.

A fork that outlives its time is killed, one that takes more memory than allowed cannot get it. Both ends are here:
`python commands.py` is the process that forks, `Commands` what tests talk to.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from toolchain.cli.compose import load_passes, load_rules
from toolchain.cli.main import main
from toolchain.errors import ExitCode
from toolchain.registry import scan
from toolchain.targets import registry

ROOT = Path(__file__).parents[2]
PROCESSOR_SECONDS = 60
CLOCK_SECONDS = 20 * PROCESSOR_SECONDS
"""Only for what waits and does nothing: a busy machine is no defect."""
MEMORY_BYTES = 4 << 30
TABLE = frozenset({0, 2, 3, 4, 5, 6, 7})
"""What a command may return; 1 is a defect, a signal is negative."""


@dataclass(frozen=True)
class Outcome:
    """How one command went, its own processes counted; `code` is negative where a signal ended it."""

    code: int
    seconds: float
    processor_seconds: float
    memory_bytes: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The one line that says what is wrong; fails where there is none, several, or a traceback."""
        assert "Traceback" not in self.stderr, self.stderr
        lines = [line for line in self.stderr.splitlines() if line.startswith("prunec: ")]
        assert len(lines) == 1, self.stderr
        return lines[0]


class Commands:
    """A process that has imported `prunec` and forks for each command."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate("")

    def run(self, arguments: Sequence[str], folder: Path) -> Outcome:
        """Run one command in a folder to its end."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([list(arguments), str(folder)]) + "\n")
        stdin.flush()
        return Outcome(**json.loads(stdout.readline()))


def serve() -> None:
    """Answer one line with one line until there are no more."""
    registry.create("null", "")  # these import everything that is found by a scan, once, and all of one state
    load_rules()
    load_passes()
    for package in ("passes.criteria", "toolchain.strategies"):
        scan(package, object)
    for line in sys.stdin:
        arguments, folder = json.loads(line)
        print(json.dumps(asdict(_in_a_fork(arguments, folder))), flush=True)


def _in_a_fork(arguments: list[str], folder: str) -> Outcome:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            _become(arguments, folder, out.fileno(), err.fileno())
        status, usage = _wait(child)
        seconds = time.monotonic() - start
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    processor_seconds = usage.ru_utime + usage.ru_stime
    return Outcome(os.waitstatus_to_exitcode(status), seconds, processor_seconds, usage.ru_maxrss * 1024, *texts)


def _become(arguments: list[str], folder: str, out: int, err: int) -> None:
    """Be the command; never come back."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(folder)
    os.environ["PRUNEC_CACHE"] = str(Path(folder, ".cache"))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.argv = ["prunec", *arguments]
    code: object = ExitCode.INTERNAL
    try:
        main()
        code = 0
    except SystemExit as ending:
        code = ending.code or 0
    finally:
        if sys.exc_info()[0] not in (None, SystemExit):
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else ExitCode.INTERNAL)


def _wait(child: int) -> tuple[int, resource.struct_rusage]:
    """Return how a child and what it started ended, and the most memory it held; kill it where time is up."""
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
    signal.alarm(CLOCK_SECONDS)
    _, status, usage = os.wait4(child, 0)
    signal.alarm(0)
    return status, usage


if __name__ == "__main__":
    serve()
