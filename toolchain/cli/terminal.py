"""Terminal output: results to stdout, progress and warnings to stderr, no bars without a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.status import Status as Line
from rich.table import Table

from toolchain.emit.markdown import HEADINGS, pass_row, printable
from toolchain.emit.report import PassFigure
from toolchain.pipeline.record import Record, Status

PLAIN_WIDTH = 160
"""Columns when nobody looks: a table in a log must not be squeezed."""


class Terminal:
    """Shows progress as one changing line on a terminal, as plain lines elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)
        self._quiet = quiet
        self._status: Line | None = None

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the changing line up during a block."""
        if self._quiet or not self.err.is_terminal:
            yield
            return
        with self.err.status("starting") as self._status:
            yield
        self._status = None

    def progress(self, text: str) -> None:
        """Say what is going on now."""
        if self._quiet:
            return
        if self._status is not None:
            self._status.update(_plain(text))
        else:
            self.err.print(_plain(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Say something that should be read."""
        self.err.print(f"[yellow]warning:[/yellow] {_plain(text)}", soft_wrap=True)

    def error(self, text: str) -> None:
        """Say in one line why this is the end."""
        self.err.print(f"[red]prunec:[/red] {_plain(' '.join(text.splitlines()))}", soft_wrap=True)

    def record(self, record: Record) -> None:
        """Say how a pass went, and why where nothing came of it."""
        if self._quiet:
            return
        row = pass_row(PassFigure.of(record))
        text = ", ".join(f"{name} {cell}" for name, cell in zip(HEADINGS[2:], row[2:], strict=True) if cell != "-")
        status = "" if record.status is Status.ORIGINAL else f" {row[1]}"
        why = record.reason or ("; ".join(record.notes) if record.status is Status.UNCHANGED else "")
        said = f"{text} ({why})" if why else text
        self.err.print(f"[bold]{_plain(row[0])}[/bold]{_plain(status)}: {_plain(said)}", soft_wrap=True)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
        """Print a table to stdout."""
        table = Table(*headings, title=_plain(title) if title else None, title_justify="left")
        for row in rows:
            table.add_row(*(_plain(cell) for cell in row))
        self.out.print(table)

    def line(self, text: str) -> None:
        """Print a line to stdout."""
        self.out.print(_plain(text), soft_wrap=True)


def _plain(text: str) -> str:
    """Keep names from files from being read as markup or as commands to the terminal."""
    return escape(printable(text))


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)
