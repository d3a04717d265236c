"""Atoms: runs of consecutive units that no place cuts apart.

Fresh labels are consecutive, so that a place holds a few runs of units rather than many single ones. Every place is cut
into runs, the units are cut wherever a run of any place begins or ends, and what is left is an atom: its units are in
the same places, and lie there in order. All that is asked of units can be asked of the far fewer atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolchain.graph.labels import KEPT

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Atoms:
    """Where atoms are: the i-th time that one is met, `atom[i]` is in `place[i]` from `position[i]` on.

    Atoms are met place by place, in the order of their positions; equal units in a row count as one position. An atom
    has the units from `start[atom]` up to `start[atom + 1]`.
    """

    start: IndexArray
    atom: IndexArray
    place: IndexArray
    position: IndexArray

    def units(self, atoms: Sequence[int]) -> IndexArray:
        """Return the units of these atoms, in this order."""
        runs = [np.arange(*self.start[atom : atom + 2].tolist()) for atom in atoms]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)


def find_atoms(places: Sequence[IndexArray], kinds: IndexArray) -> Atoms:
    """Cut units into atoms whose units are of one kind; 0, which is always kept, is in none.

    1. Every place is cut into runs of consecutive units, each with a first unit and a length.
    2. Units are cut where a run begins or ends, and where kinds meet: between two cuts is an atom.
    3. A run has `count` atoms, from that of its first unit on.
    """
    units, offset = np.concatenate([np.zeros(0, np.int64), *places]), np.array([0, *map(len, places)]).cumsum()[:-1]
    step = np.empty(len(units), np.int64)
    step[1:] = units[1:] - units[:-1]
    step[offset] = -1
    if 0 in step:
        units, offset, step = units[step != 0], (step != 0).cumsum()[offset] - 1, step[step != 0]
    begin = np.flatnonzero(step != 1)
    first, length = units[begin], np.diff(begin, append=len(units))
    start, number = _cut(first, first + length, kinds)
    count = number[first + length - 1] - number[first] + 1
    before = np.cumsum(count) - count
    atom = np.arange(count.sum()) + np.repeat(number[first] - before, count)
    run = np.repeat(np.arange(len(begin)), count)
    place = np.searchsorted(offset, begin, side="right") - 1
    position = begin - offset[place] - first
    real = atom != number[KEPT]
    return Atoms(start, atom[real], place[run][real], (position[run] + start[atom])[real])


def _cut(first: IndexArray, end: IndexArray, kinds: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Cut at the ends of runs and where kinds meet; return where atoms start, and the atom of each unit."""
    cuts = np.zeros(len(kinds) + 1, np.bool_)
    cuts[first] = cuts[end] = cuts[[KEPT, KEPT + 1, -1]] = True
    cuts[1:-1] |= kinds[1:] != kinds[:-1]
    return np.flatnonzero(cuts), np.cumsum(cuts[:-1]) - 1
