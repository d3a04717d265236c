"""`prunec store`: what was timed, on this machine and on others."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.terminal import Terminal
from toolchain.emit.bundle import replaced
from toolchain.store.entry import Entry
from toolchain.store.json_lines import read_lines, to_lines
from toolchain.store.latency_store import LatencyStore, default_path, read_store
from toolchain.store.network_entry import Stored

app = typer.Typer(help="List, carry and merge measured latencies.", no_args_is_help=True)


@app.command("list")
def list_entries() -> None:
    """List all latencies with the machine they were measured on."""
    terminal = Terminal()
    with _open(terminal) as own:
        entries = own.entries()
    headings = ("target", "device", "runtime", "precision", "what", "median", "samples", "waiting", "measured at")
    terminal.table(headings, map(_row, entries), title=f"{len(entries)} latencies in {default_path()}")


@app.command()
def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; standard output if absent.")] = None,
) -> None:
    """Write all latencies as JSON lines."""
    with _open(Terminal()) as own:
        entries = own.entries()
    text = "".join(f"{line}\n" for line in to_lines(entries))
    if output is None:
        print(text, end="")
        return
    with replaced(output) as temporary:
        temporary.write_text(text, encoding="utf-8")


@app.command("import")
def import_lines(files: Annotated[list[Path], typer.Argument(help="Files that `export` wrote.")]) -> None:
    """Add exported latencies, those of other machines too; of two of the same thing the later one stays."""
    _add(entry for file in files for entry in read_lines(file))


@app.command()
def merge(files: Annotated[list[Path], typer.Argument(help="Latency stores (latency.sqlite).")]) -> None:
    """Add the latencies of other stores, which are not changed."""
    _add(entry for file in files for entry in read_store(file))


@app.command()
def path() -> None:
    """Print where the store lies."""
    print(default_path())


def _add(entries: Iterable[Stored]) -> None:
    terminal = Terminal()
    found = list(entries)
    with _open(terminal) as own:
        added = own.merge(found)
    terminal.line(f"{added} of {len(found)} latencies added to {default_path()}")


def _open(terminal: Terminal) -> LatencyStore:
    return LatencyStore(default_path(), terminal.warn)


def _row(entry: Stored) -> tuple[str, ...]:
    identity = entry.identity
    return (
        identity.target,
        identity.device,
        identity.runtime,
        identity.precision,
        *_what(entry),
        "unknown" if entry.waiting_share is None else f"{100 * entry.waiting_share:.0f} %",
        f"{entry.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
    )


def _what(entry: Stored) -> tuple[str, str, str]:
    """Say what was timed, what it takes, and how many samples there are."""
    if isinstance(entry, Entry):
        latency = entry.latency
        modelled = "" if latency.measured else ", modelled"
        return str(entry.signature), f"{latency.median_ms:.3g} ms{modelled}", str(len(latency.samples_ms))
    samples = max((len(layer.samples_ms) for layer in entry.layers), default=0)
    return f"network {entry.network[:12]}, {len(entry.layers)} kernels", f"{entry.whole_ms:.3g} ms", str(samples)
