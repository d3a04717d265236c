"""Find the widths worth choosing: three-point latency stair-step discrimination (LOCP, Zhang et al. 2023).

With L(c) the latency at width c, c is a step where L is flat up to c and rises clearly after it. Saw-tooth curves
have local minima instead (a runtime is slower at 63 channels than at 64), so the test is made from the wide end:

    the next step is the widest width that is clearly faster than the last one,  L(c) < L(last) * (1 - threshold)

The curve is not swept:

1. Multiples of the target's preferred alignment are the prior. They are bisected: a stretch whose ends agree is flat
   and is not looked into; one whose ends differ is split, down to neighbouring multiples.
2. Between neighbouring multiples a < b that differ, the edge should be at a: the narrowest acceptable width above a
   then costs what b costs. A few pairs, the outermost and random ones, are tested (the third point). If one fails, all
   are, and those that fail are bisected down to the least alignment.
3. Random widths are spot-checked. One that costs no more than the next narrower width seen, by the least alignment or
   more away, and clearly less than every wider one is a surprise: the stretch up to the wider one is bisected down to
   single channels.

A curve that rises by less than the threshold from multiple to multiple is a slope without stairs: step 1 then yields
the multiples that the threshold can tell apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from toolchain.targets.contract import Alignment


@dataclass(frozen=True)
class Timing:
    """A latency and its noise, relative: half the width of its interval."""

    milliseconds: float
    noise: float = 0.0


@dataclass(frozen=True)
class StepTest:
    """How clear a difference has to be, and how much is checked.

    threshold of two timings = max(smallest, noises * sqrt(noise_1^2 + noise_2^2)), relative.
    """

    smallest: float = 0.02
    noises: float = 3.0
    tested_pairs: int = 3
    spot_checks: int = 2


@dataclass(frozen=True)
class Steps:
    """The steps of a curve, widest first, without the full width, and every point that was timed, narrowest first."""

    widths: tuple[int, ...]
    points: tuple[tuple[int, Timing], ...]

    @property
    def timings(self) -> int:
        """How many widths were timed."""
        return len(self.points)


TimeWidth = Callable[[int], Timing]


def find_steps(
    time_width: TimeWidth,
    full: int,
    alignment: Alignment,
    generator: np.random.Generator,
    test: StepTest | None = None,
) -> Steps:
    """Return the steps of the latency over widths 1 to `full`; each width is timed at most once."""
    test = test or StepTest()
    curve = _Curve(time_width, test)
    multiples = [1, *range(alignment.preferred, full, alignment.preferred), full]
    multiples = sorted(
        {width for width in multiples if width >= min(alignment.least, full)} | {min(alignment.least, full)}
    )
    curve.bisect(multiples)
    curve.test_pairs(multiples, alignment.least, generator)
    curve.spot_check(full, alignment, generator)
    return steps_of(curve.points, test)


def sweep_steps(time_width: TimeWidth, widths: Iterable[int], test: StepTest | None = None) -> Steps:
    """Time all widths and return the steps: what `find_steps` has to agree with."""
    return steps_of([(width, time_width(width)) for width in sorted(widths)], test or StepTest())


def steps_of(points: Iterable[tuple[int, Timing]], test: StepTest) -> Steps:
    """Apply the test from the wide end to timed points."""
    ordered = tuple(sorted(points, key=lambda point: point[0]))
    steps: list[int] = []
    last = ordered[-1][1]
    for width, timing in reversed(ordered[:-1]):
        if _clearly_faster(timing, last, test):
            steps.append(width)
            last = timing
    return Steps(tuple(steps), ordered)


class _Curve:
    """The widths timed so far."""

    def __init__(self, time_width: TimeWidth, test: StepTest) -> None:
        self._time_width = time_width
        self._test = test
        self._timed: dict[int, Timing] = {}

    @property
    def points(self) -> list[tuple[int, Timing]]:
        """All timed widths, narrowest first."""
        return sorted(self._timed.items())

    def at(self, width: int) -> Timing:
        """Time a width, once."""
        if width not in self._timed:
            self._timed[width] = self._time_width(width)
        return self._timed[width]

    def flat(self, narrow: int, wide: int) -> bool:
        """Tell whether two widths cost the same, within the threshold."""
        one, other = self.at(narrow), self.at(wide)
        return not _clearly_faster(one, other, self._test) and not _clearly_faster(other, one, self._test)

    def bisect(self, widths: Sequence[int]) -> None:
        """Time the ends; look between them where they differ."""
        stack = [(0, len(widths) - 1)]
        while stack:
            low, high = stack.pop()
            if not self.flat(widths[low], widths[high]) and high - low > 1:
                middle = (low + high) // 2
                stack += [(low, middle), (middle, high)]

    def test_pairs(self, multiples: Sequence[int], least: int, generator: np.random.Generator) -> None:
        """Test that latency rises right after the narrower of two neighbouring multiples, not later."""
        timed = set(self._timed)
        pairs = [
            (narrow, wide)
            for narrow, wide in pairwise(multiples)
            if {narrow, wide} <= timed and wide - narrow > least and not self.flat(narrow, wide)
        ]
        chosen = _some(pairs, self._test.tested_pairs, generator)
        if all(self._edge_is_first(*pair, least) for pair in chosen):
            return
        for narrow, wide in pairs:
            if not self._edge_is_first(narrow, wide, least):
                self.bisect([narrow, *range(_next_multiple(narrow, least), wide, least), wide])

    def spot_check(self, full: int, alignment: Alignment, generator: np.random.Generator) -> None:
        """Time random widths; where one beats all wider ones that were timed, look closer."""
        candidates = [width for width in range(1, full) if width not in self._timed]
        count = min(self._test.spot_checks, len(candidates), full // alignment.preferred)
        for width in generator.choice(candidates, count, replace=False).tolist() if count else ():
            widths = [other for other, _ in self.points]
            place = bisect_left(widths, width)
            if place and self._surprises(widths[place - 1], width, alignment.least):
                self.bisect(range(width, widths[place] + 1))

    def _surprises(self, narrow: int, width: int, least: int) -> bool:
        wider = [timing for other, timing in self.points if other > width]
        no_dearer = width - narrow >= least and not _clearly_faster(self.at(narrow), self.at(width), self._test)
        return no_dearer and all(_clearly_faster(self.at(width), timing, self._test) for timing in wider)

    def _edge_is_first(self, narrow: int, wide: int, least: int) -> bool:
        return self.flat(_next_multiple(narrow, least), wide)


def _next_multiple(width: int, least: int) -> int:
    return (width // least + 1) * least


def _clearly_faster(one: Timing, other: Timing, test: StepTest) -> bool:
    threshold = max(test.smallest, test.noises * float(np.hypot(one.noise, other.noise)))
    return one.milliseconds < other.milliseconds * (1 - threshold)


def _some(pairs: Sequence[tuple[int, int]], count: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Return the outermost pairs and random ones between them."""
    if len(pairs) <= count:
        return list(pairs)
    inner = generator.choice(np.arange(1, len(pairs) - 1), max(count - 2, 0), replace=False)
    return [pairs[0], *(pairs[number] for number in sorted(inner.tolist())), pairs[-1]]
