"""`prunec inspect`: what can be pruned in a model, what cannot, and why."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text
from rich.tree import Tree

from toolchain.cli.compose import load_rules
from toolchain.cli.folding import folded_apart
from toolchain.cli.terminal import Terminal
from toolchain.emit.markdown import count_text, printable
from toolchain.emit.report import Frozen
from toolchain.errors import UsageError
from toolchain.graph.analysis import Analysis, Group, analyse
from toolchain.graph.cost import CostModel
from toolchain.graph.coverage import coverage, unknown_ops
from toolchain.graph.deployment import deployment_binding, parse_input_shapes
from toolchain.graph.index import GraphIndex
from toolchain.graph.load import load_model


class SiteFigure(Frozen):
    """One place where a group's units live."""

    parameter: str
    axis: int
    role: str
    node: str


class GroupFigure(Frozen):
    """A group: its units, the places they live in, and why it is frozen if it is."""

    name: str
    width: int
    prunable: bool
    reason: str
    sites: tuple[SiteFigure, ...]


class Inspection(Frozen):
    """What `inspect --json` prints; channels are outputs of weighted layers, depthwise convolutions excepted."""

    model: str
    nodes: int
    parameters: int
    macs: int
    channels: int
    prunable_channels: int
    groups: tuple[GroupFigure, ...]
    unknown_ops: tuple[str, ...]
    """Ops that no rule knows: what reaches them stays."""


def inspect(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    input_shapes: Annotated[str, typer.Option(help='Sizes when deployed: "x:[1,3,224,224]".')] = "",
    allow_inexact: Annotated[
        bool, typer.Option("--allow-inexact", help="Prune also what only statistics tie: LayerNorm, mean, softmax.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout.")] = False,
    dot_output: Annotated[bool, typer.Option("--dot", help="Print a Graphviz drawing of the groups alone.")] = False,
) -> None:
    """Print MODEL's groups of channels that live and die together, and why some cannot go."""
    if json_output and dot_output:
        raise UsageError("--json and --dot both want stdout for themselves", hint="give one of them")
    rules = load_rules()
    loaded, shapes = load_model(model), parse_input_shapes(input_shapes)
    binding = deployment_binding(loaded.normalised, shapes, {}) if shapes else None
    analysis = analyse(folded_apart(loaded, binding), rules, binding=binding, allow_inexact=allow_inexact)
    inspection = _inspection(model, analysis, CostModel(analysis, rules))
    if json_output:
        print(inspection.model_dump_json(indent=2))
        return
    if dot_output:
        print(_dot(inspection))
        return
    _print(inspection, Terminal())


def _inspection(path: Path, analysis: Analysis, cost: CostModel) -> Inspection:
    reach = coverage(analysis)
    return Inspection(
        model=str(path),
        nodes=len(analysis.index.nodes),
        parameters=cost.total.parameters,
        macs=cost.total.macs // _batch(analysis),
        channels=reach.channels,
        prunable_channels=reach.prunable,
        groups=tuple(_figure(group, analysis.index) for group in analysis.groups),
        unknown_ops=unknown_ops(analysis),
    )


def _batch(analysis: Analysis) -> int:
    shape = analysis.facts[analysis.index.inputs[0].name].shape if analysis.index.inputs else None
    return shape[0] if shape else 1


def _figure(group: Group, index: GraphIndex) -> GroupFigure:
    sites = tuple(
        SiteFigure(
            parameter=site.parameter,
            axis=site.axis,
            role=site.role.value,
            node=index.nodes[site.node_index].name or index.nodes[site.node_index].output[0],
        )
        for site in group.sites
    )
    single = "it has one unit only" if group.width == 1 else ""
    reason = str(group.reason) if group.reason else single
    return GroupFigure(name=group.name, width=group.width, prunable=group.prunable, reason=reason, sites=sites)


def _print(inspection: Inspection, terminal: Terminal) -> None:
    terminal.out.print(_tree(inspection))
    frozen: dict[str, list[GroupFigure]] = defaultdict(list)
    for group in inspection.groups:
        if not group.prunable:
            frozen[group.reason].append(group)
    if frozen:
        terminal.table(
            ("frozen because", "channels", "groups"),
            [
                (why, str(sum(g.width for g in groups)), ", ".join(g.name for g in groups))
                for why, groups in frozen.items()
            ],
        )
    if inspection.unknown_ops:
        terminal.line(f"no rule knows {', '.join(inspection.unknown_ops)}: what reaches them stays")
    prunable = sum(group.prunable for group in inspection.groups)
    terminal.line(
        f"{inspection.nodes} nodes, {count_text(inspection.parameters)} parameters, "
        f"{count_text(inspection.macs)} MACs; {prunable} of {len(inspection.groups)} groups prunable"
    )
    terminal.line(f"{inspection.prunable_channels} of {inspection.channels} Conv/Gemm output channels prunable")


def _tree(inspection: Inspection) -> Tree:
    """Show each prunable group, and under it where its units live, by what the places do for them."""
    tree = Tree(_text(inspection.model))
    for group in inspection.groups:
        if group.prunable:
            branch = tree.add(_text(f"{group.name}: {group.width} units"))
            for role, places in _places(group).items():
                branch.add(_text(f"{role}: {', '.join(places)}"))
    return tree


def _places(group: GroupFigure) -> dict[str, list[str]]:
    roles: dict[str, list[str]] = defaultdict(list)
    for site in group.sites:
        roles[site.role].append(f"{site.parameter}[{site.axis}]")
    return roles


def _text(text: str) -> Text:
    """Keep names from files from being read as markup or as commands to the terminal."""
    return Text(printable(text))


def _dot(inspection: Inspection) -> str:
    """Draw groups as ellipses (gray where frozen), tied to the nodes in whose parameters their units live."""
    lines = ["graph groups {", "  rankdir=LR;", "  node [shape=box];"]
    for number, group in enumerate(inspection.groups):
        colour = "palegreen" if group.prunable else "lightgray"
        label = _quoted(f"{group.name}: {group.width}")
        lines.append(f"  group{number} [label={label}, shape=ellipse, style=filled, fillcolor={colour}];")
        ties = dict.fromkeys((site.node, site.role) for site in group.sites)
        lines += [f"  group{number} -- {_quoted(node)} [label={role}];" for node, role in ties]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
