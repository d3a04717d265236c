"""Print what analysis reaches on the zoo, beside torch-pruning: `PYTHONPATH=.:tests python -m bench.zoo [NETWORK ...]`.

A network is exported in three ways (`--exporters folded kept dynamo`), which must have the same prunable groups.
Every network is measured in a child process that may use a minute of the processor (ten where dynamo exports), and
so is the peer. Seconds are
those of the processor, one thread, the best of three runs; both start from a network in memory, exporting and parsing
apart:

    ours    analyse the exported model (normalised, constants folded: passes that come before)
    peer    build the dependency graph and enumerate its groups

The peer's result is valid when its pruner removes 30 % of the channels and the network still runs with outputs of
the same shape. Channels are output channels of convolutions (depthwise ones excepted) and linear layers. Where the peer
counts more of them than we do, its cuts are held against the network with the same channels at zero, one by one
(`bench.peer_exactness`); those that change the function, and groups that it lists and never cuts, are counted apart.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import torch
import torch_pruning
from bench.peer_exactness import exact_cuts
from oracle import RULES
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from zoo.channels import partition
from zoo.exports import Exporter, export
from zoo.networks import BY_NAME

from passes.fold_constants import FoldConstants
from toolchain.graph.analysis import analyse
from toolchain.graph.coverage import coverage
from toolchain.graph.normalise import normalise

RESULTS = Path(__file__).parent / "results" / "zoo.json"
LIMIT_S = 60
"""Processor seconds; a child that rests instead of working gets ten times as long by the clock."""
DYNAMO_LIMIT_S = 600
REPEATS = 3
PEER = "torch-pruning"
PEER_RATIO = 0.3


@dataclass(frozen=True)
class Measured:
    """One analysis of one network; `failure` says why the rest is zero.

    `inexact_channels` are those prunable ones that were found to change the function when cut, or never to be cut;
    `partition` is the same for exports with the same prunable groups.
    """

    network: str
    tool: str
    nodes: int = 0
    groups: int = 0
    channels: int = 0
    prunable_channels: int = 0
    inexact_channels: int = 0
    seconds: float = 0.0
    failure: str = ""
    partition: str = ""

    @property
    def share(self) -> float:
        """The prunable share of channels."""
        return self.prunable_channels / self.channels if self.channels else 0.0

    @property
    def exact_share(self) -> float:
        """The share of channels that can be pruned and leave the function of the others alone."""
        return (self.prunable_channels - self.inexact_channels) / self.channels if self.channels else 0.0


def measure_ours(name: str, tool: str) -> Measured:
    """Export, fold constants, analyse."""
    network = BY_NAME[name]
    exported = export(network.build(), network.example(), Exporter(tool))
    model = FoldConstants().run(normalise(exported), None).model  # type: ignore[arg-type]
    analysis, seconds = _timed(lambda: analyse(model, RULES))
    reach = coverage(analysis)
    nodes, groups, found = len(model.graph.node), len(analysis.groups), sorted(partition(analysis).items())
    digest = hashlib.sha256(repr(found).encode()).hexdigest()[:16]
    return Measured(name, tool, nodes, groups, reach.channels, reach.prunable, seconds=seconds, partition=digest)


def measure_peer(name: str, tool: str) -> Measured:
    """Build the dependency graph, enumerate groups, prune, run."""
    network = BY_NAME[name]
    module, example = network.build(), network.example()
    final = layers_at_outputs(module, example)

    def enumerate_groups() -> list[torch_pruning.dependency.Group]:
        graph = torch_pruning.DependencyGraph().build_dependency(module, example, verbose=False)
        return list(graph.get_all_groups(ignored_layers=final))

    groups, seconds = _timed(enumerate_groups)
    layers = [layer for layer in module.modules() if _is_weighted(layer)]
    total = sum(layer.weight.shape[_output_axis(layer)] * _transposed_groups(layer) for layer in layers)
    prunable = sum(_produced(group) for group in groups)
    try:
        failure = _prune_and_run(module, example, final)
    except Exception as error:  # noqa: BLE001  (whatever the peer raises is its result)
        failure = _one_line(error)
    return Measured(name, tool, 0, len(groups), total, prunable, seconds=seconds, failure=failure)


def check_cuts(peer: Measured, name: str, tool: str) -> Measured:  # noqa: ARG001  (the row says by which tool)
    """Count the channels of the groups that the peer does not cut exactly."""
    network = BY_NAME[name]
    module, example = network.build().double(), network.example().double()
    pruner = _pruner(module, example, layers_at_outputs(module, example))
    groups = pruner.DG.get_all_groups(ignored_layers=pruner.ignored_layers)
    produced = {group[0].dep.target.module: _produced(group) for group in groups}
    exact = exact_cuts(pruner, lambda: _outputs(module, example))
    return replace(peer, inexact_channels=sum(produced[layer] for layer in produced.keys() - exact))


def layers_at_outputs(module: nn.Module, example: Tensor) -> list[nn.Module]:
    """Find the weighted layers that reach an output through no other one: cut before each, and follow gradients."""
    layers = [layer for layer in module.modules() if isinstance(layer, (_ConvNd, nn.Linear))]
    cuts = [
        layer.register_forward_pre_hook(lambda _, inputs: tuple(item.detach() for item in inputs)) for layer in layers
    ]
    found = module(example)
    outputs = [found] if isinstance(found, Tensor) else list(found)
    sum(item.sum() for item in outputs).backward()
    final = [layer for layer in layers if layer.weight.grad is not None]
    for cut in cuts:
        cut.remove()
    module.zero_grad()
    return final


def _prune_and_run(module: nn.Module, example: Tensor, final: list[nn.Module]) -> str:
    """Return how the peer's pruner failed; empty when the smaller network runs."""
    before, shapes = _parameters(module), [item.shape for item in _outputs(module, example)]
    _pruner(module, example, final).step()
    if _parameters(module) == before:
        return "nothing was pruned"
    found = [item.shape for item in _outputs(module, example)]
    return "" if found == shapes else "the outputs have other shapes"


def _pruner(module: nn.Module, example: Tensor, final: list[nn.Module]) -> torch_pruning.pruner.BasePruner:
    importance = torch_pruning.importance.RandomImportance()
    return torch_pruning.pruner.BasePruner(
        module, example, importance=importance, pruning_ratio=PEER_RATIO, ignored_layers=final
    )


def _parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def _outputs(module: nn.Module, example: Tensor) -> list[Tensor]:
    with torch.no_grad():
        found = module(example)
    return [found] if isinstance(found, Tensor) else list(found)


def _produced(group: torch_pruning.dependency.Group) -> int:
    """Count the channels that a group removes from the outputs of weighted layers."""
    gone: dict[nn.Module, set[int]] = {}
    for dependency, indices in group:
        layer = dependency.target.module
        outputs = getattr(dependency.handler, "__name__", "") == "prune_out_channels"
        if outputs and _is_weighted(layer):
            count = layer.weight.shape[_output_axis(layer)] * _transposed_groups(layer)
            gone.setdefault(layer, set()).update(index for index in indices if index < count)
    return sum(len(indices) for indices in gone.values())


def _is_weighted(layer: nn.Module) -> bool:
    depthwise = isinstance(layer, _ConvNd) and layer.groups == layer.in_channels > 1
    return isinstance(layer, (_ConvNd, nn.Linear)) and not depthwise


def _output_axis(layer: nn.Module) -> int:
    return int(getattr(layer, "transposed", False))


def _transposed_groups(layer: nn.Module) -> int:
    return layer.groups if getattr(layer, "transposed", False) else 1


def _timed(work: Callable[[], object]) -> tuple[object, float]:
    seconds = []
    for _ in range(REPEATS):  # under a limit the clock of the process goes in ticks, that of the thread does not
        start = time.thread_time()
        result = work()
        seconds.append(time.thread_time() - start)
    return result, min(seconds)


def in_child(measure: Callable[[str, str], Measured], name: str, tool: str, limit_s: int = LIMIT_S) -> Measured:
    """Measure in a child process; a crash, an error and the time limit are failures."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_report, args=(measure, name, tool, limit_s, sender))
    child.start()
    sender.close()
    try:
        found = receiver.recv() if receiver.poll(10 * limit_s) else f"no result after {10 * limit_s} s"
    except EOFError:
        child.join()
        used_up = child.exitcode == -signal.SIGXCPU
        found = f"no result after {limit_s} s of the processor" if used_up else "its process died"
    child.kill()
    child.join()
    return found if isinstance(found, Measured) else Measured(name, tool, failure=found)


def _report(
    measure: Callable[[str, str], Measured],
    name: str,
    tool: str,
    limit_s: int,
    sender: "multiprocessing.connection.Connection",
) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            found: Measured | str = measure(name, tool)
        except Exception as error:  # noqa: BLE001  (whatever the peer raises is its result)
            found = _one_line(error)
    sender.send(found)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]


def measure_all(
    names: Iterable[str], exporters: Sequence[Exporter], kept: Sequence[Measured], peer_limit_s: int
) -> list[Measured]:
    """Measure every network by every exporter, then the peer, but for what `kept`, the rows of an earlier run, has."""
    by_network: dict[str, dict[str, Measured]] = {name: {} for name in BY_NAME}
    for row in kept:
        by_network[row.network][row.tool] = row
    console = Console(stderr=True)
    for name in names:
        rows = by_network[name]
        before = dict(rows)
        for exporter in exporters:
            rows[exporter.value] = _measure_export(name, exporter, rows.get(exporter.value))
        if PEER not in rows:
            rows[PEER] = _measure_peer_checked(name, rows[exporters[0].value], peer_limit_s)
        write([*chain.from_iterable(rows.values() for rows in by_network.values())])
        new = [row for tool, row in rows.items() if row != before.get(tool)]
        console.print(name, *(f"{row.tool} {row.seconds:.3f}{row.failure and ' failed'}" for row in new))
    return [*chain.from_iterable(rows.values() for rows in by_network.values())]


def _measure_export(name: str, exporter: Exporter, earlier: Measured | None) -> Measured:
    """Measure, or complete an earlier row, whose seconds stay: they were taken beside the peer's."""
    if earlier and (earlier.partition or earlier.failure):
        return earlier
    limit_s = DYNAMO_LIMIT_S if exporter is Exporter.DYNAMO else LIMIT_S
    found = in_child(measure_ours, name, exporter.value, limit_s)
    return replace(found, seconds=earlier.seconds) if earlier and not found.failure else found


def _measure_peer_checked(name: str, ours: Measured, limit_s: int) -> Measured:
    peer = in_child(measure_peer, name, PEER, limit_s)
    if peer.failure or peer.share <= ours.share:
        return peer
    checked = in_child(partial(check_cuts, peer), name, PEER)
    return peer if checked.failure else checked


def read() -> list[Measured]:
    """Return the rows of an earlier run."""
    if not RESULTS.exists():
        return []
    return [Measured(**row) for row in json.loads(RESULTS.read_text())["rows"]]


def write(rows: list[Measured]) -> None:
    """Write what there is so far: an interrupted run keeps it."""
    RESULTS.parent.mkdir(exist_ok=True)
    found = {
        "clock": "processor seconds of one thread, best of three",
        "processors": os.cpu_count(),
        "load_average_at_the_end": round(os.getloadavg()[1], 1),
        "summary": summary(rows),
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def show(rows: list[Measured]) -> None:
    """Print the table and its summary."""
    headings = ("network", "by", "nodes", "groups", "same", "channels", "prunable", "exactly", "seconds", "failure")
    table, alike = Table(*headings), agreement(rows)
    for row in rows:
        shares = (f"{row.share:.1%}", f"{row.exact_share:.1%}")
        same = "" if row.tool == PEER or row.failure else ("yes" if alike[row.network] else "no")
        cells = (row.nodes or "", row.groups, same, row.channels, *shares, f"{row.seconds:.3f}", row.failure)
        table.add_row(row.network, row.tool, *map(str, cells))
    console = Console(width=max(160, Console().width))
    console.print(table)
    console.print(summary(rows))


def agreement(rows: Iterable[Measured]) -> dict[str, bool]:
    """Tell for each network whether all exports of it that could be analysed have the same prunable groups."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.tool != PEER and not row.failure:
            found.setdefault(row.network, set()).add(row.partition)
    return {name: len(partitions) == 1 for name, partitions in found.items()}


def exports_text(rows: Sequence[Measured]) -> str:
    """Say on how many networks all exporters work and agree, and where they do not."""
    alike = agreement(rows)
    works: dict[str, set[str]] = {name: set() for name in alike}
    for row in rows:
        if row.tool != PEER and not row.failure:
            works[row.network].add(row.tool)
    every = {exporter.value for exporter in Exporter}
    whole = [name for name in alike if works[name] == every]
    differ = [name for name in alike if not alike[name]]
    lacking = [f"{name} ({', '.join(sorted(every - works[name]))})" for name in alike if works[name] != every]
    return (
        f"all {len(every)} exports exist and have the same groups on {sum(alike[name] for name in whole)} networks; "
        f"they differ on: {', '.join(differ) or 'none'}; not exported: {', '.join(lacking) or 'none'}"
    )


def summary(rows: list[Measured]) -> str:
    """Say in a few words who fails, who is faster, who reaches more, and whether exports agree."""
    ours = {row.network: row for row in rows if row.tool == Exporter.FOLDED.value}
    peers = {row.network: row for row in rows if row.tool == PEER}
    failed = [row for row in rows if row.failure and row.tool != PEER]
    timed = [peers[name].seconds / ours[name].seconds for name in ours if peers[name].seconds and ours[name].seconds]
    valid = [name for name in ours if not peers[name].failure]
    less = [name for name in valid if ours[name].share < peers[name].exact_share - 1e-9]
    inexact = [name for name in valid if peers[name].inexact_channels]
    return (
        f"{len(ours)} networks; failures here {len(failed)}, of the peer {len(peers) - len(valid)}; "
        f"the peer takes {statistics.median(timed) if timed else np.nan:.1f} times as long in the median; "
        f"a smaller share than what the peer cuts exactly on {len(less)} of {len(valid)}: {', '.join(less) or 'none'}; "
        f"networks of which the peer counts channels that it does not cut exactly: {', '.join(inexact) or 'none'}; "
        f"{exports_text(rows)}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="measure the analysis on the zoo, beside torch-pruning")
    parser.add_argument("networks", nargs="*", default=list(BY_NAME), help="all by default")
    parser.add_argument(
        "--exporters", nargs="+", default=["folded", "kept", "dynamo"], choices=[e.name.lower() for e in Exporter]
    )
    parser.add_argument("--resume", action="store_true", help="measure only what an earlier run has not")
    parser.add_argument("--peer-limit-s", type=int, default=LIMIT_S, help="processor seconds that the peer may use")
    arguments = parser.parse_args()
    kept = read() if arguments.resume else []
    exporters = [Exporter[name.upper()] for name in arguments.exporters]
    show(measure_all(arguments.networks, exporters, kept, arguments.peer_limit_s))


if __name__ == "__main__":
    main()
