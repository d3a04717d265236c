"""The plan: the units that go, as data. It can be hashed, stored, and replayed without the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from toolchain.errors import UsageError
from toolchain.graph.analysis import Analysis


class Removal(BaseModel):
    """Positions (in the group's order of units) that are removed from one group."""

    model_config = ConfigDict(frozen=True)

    group: str
    positions: tuple[int, ...]


class Plan(BaseModel):
    """What is removed from the model with this hash, group by group, in the groups' order."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    model_sha256: str
    removals: tuple[Removal, ...] = ()

    @property
    def removed_count(self) -> int:
        """The number of units that go."""
        return sum(len(item.positions) for item in self.removals)

    def widths(self, analysis: Analysis) -> Mapping[str, int]:
        """Return the width that each group keeps."""
        gone = {item.group: len(item.positions) for item in self.removals}
        return {group.name: group.width - gone.get(group.name, 0) for group in analysis.groups}


def make_plan(analysis: Analysis, model_sha256: str, removed: Mapping[str, Sequence[int]]) -> Plan:
    """Put removed positions by group name into canonical order, so that equal plans are equal bytes."""
    removals = tuple(
        Removal(group=group.name, positions=tuple(sorted({int(item) for item in removed[group.name]})))
        for group in analysis.groups
        if len(removed.get(group.name, ()))
    )
    return Plan(model_sha256=model_sha256, removals=removals)


def parse_plan(text: str) -> Plan:
    """Read a plan from JSON."""
    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(item) for item in first["loc"]) or "the file"
        raise UsageError(
            f"this is not a plan: {place}: {first['msg']}", hint="give a plan.json from a bundle"
        ) from error


def inexact_reasons(analysis: Analysis, plan: Plan) -> tuple[str, ...]:
    """Return why the pruned model computes something else than the masked original, each reason once."""
    cut = {item.group for item in plan.removals}
    reasons = (group.inexact for group in analysis.groups if group.name in cut)
    return tuple(dict.fromkeys(reason.text for reason in reasons if reason))


def removed_units(analysis: Analysis, plan: Plan) -> npt.NDArray[np.bool_]:
    """Return a mask over units (index 0, always kept, included).

    Raises UsageError for a group the model does not have, or that is frozen.
    """
    mask = np.zeros(analysis.unit_count, dtype=np.bool_)
    for item in plan.removals:
        group = analysis.by_name.get(item.group)
        if group is None:
            raise UsageError(f"the plan names group '{item.group}', which this model does not have")
        if group.reason is not None:
            raise UsageError(f"the plan removes from group '{group.name}', which is frozen ({group.reason})")
        if any(not 0 <= position < group.width for position in item.positions):
            raise UsageError(f"the plan removes a unit beyond the {group.width} of group '{group.name}'")
        mask[group.units[list(item.positions)]] = True
    return mask
