from collections import defaultdict

import numpy as np
import pytest

from toolchain.graph.atoms import find_atoms

UNITS = 60


def random_places(rng: np.random.Generator) -> list[np.ndarray]:
    """Draw places as networks have them: runs, runs joined, tiled, flattened, shuffled, kept positions too."""
    places = []
    for _ in range(rng.integers(0, 6)):
        ends = np.sort(rng.integers(0, UNITS, (rng.integers(1, 4), 2)), axis=1)
        place = np.concatenate([np.arange(first, last + 1) for first, last in ends])
        makers = (lambda p: p, lambda p: np.tile(p, 2), lambda p: np.repeat(p, 3), rng.permutation)
        places.append(makers[rng.integers(len(makers))](place))
    return places


@pytest.mark.parametrize("seed", range(40))
def test_units_are_in_one_atom_only_where_they_are_of_one_kind_in_the_same_places_and_in_order_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places, kinds = random_places(rng), rng.integers(0, 2, UNITS).cumsum() // 9
    atoms = find_atoms(places, kinds)
    met = defaultdict(list)
    for atom, place, position in zip(atoms.atom, atoms.place, atoms.position, strict=True):
        met[int(place)].append((int(position), int(atom)))
    for number, place in enumerate(places):
        assert met[number] == sorted(met[number])
        assert atoms.units([atom for _, atom in met[number]]).tolist() == without_kept_and_repeats(place)
    assert all(len(set(kinds[atoms.units([atom])])) == 1 for atom in set(atoms.atom.tolist()))


def without_kept_and_repeats(place: np.ndarray) -> list[int]:
    changed = [unit for before, unit in zip([-1, *place], place, strict=False) if unit != before]
    return [unit for unit in changed if unit != 0]


def test_a_run_that_no_place_cuts_is_one_atom() -> None:
    atoms = find_atoms([np.arange(1, 9), np.repeat(np.arange(1, 9), 4), np.arange(1, 5)], np.zeros(9, np.int64))
    assert [atoms.units([atom]).tolist() for atom in sorted({*atoms.atom.tolist()})] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert atoms.place.tolist() == [0, 0, 1, 1, 2]
    assert atoms.position.tolist() == [0, 4, 0, 4, 0]


def test_without_any_place_there_is_no_atom() -> None:
    assert find_atoms([], np.zeros(1, np.int64)).atom.size == 0
