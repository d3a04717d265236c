"""Runs `prunec` as its users do: in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The one line that says what is wrong; fails where there is none, several, or a traceback."""
        assert "Traceback" not in self.stderr
        lines = [line for line in self.stderr.splitlines() if line.startswith("prunec: ")]
        assert len(lines) == 1, self.stderr
        assert self.stderr.splitlines()[-1] == lines[0]
        return lines[0]


def environment(cache: Path, **changes: str) -> dict[str, str]:
    """Return a plain terminal's environment; timings of other processes are not waited for."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "PRUNEC_CACHE": str(cache), **changes}


def arguments(*options: object) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "toolchain.cli.main", *map(str, options)]


def prunec(
    *options: object, cwd: Path, environ: Mapping[str, str] | None = None, timeout_seconds: float = 300
) -> Result:
    """Run to the end."""
    done = subprocess.run(
        arguments(*options),
        cwd=cwd,
        env={**environment(cwd / ".cache"), **(environ or {})},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)
