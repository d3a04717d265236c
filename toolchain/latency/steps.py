"""Find the widths worth choosing: three-point latency stair-step discrimination (LOCP, Zhang et al. 2023).

With L(c) the latency at width c, c is a step where L is flat up to c and rises clearly after it. Saw-tooth curves
have local minima instead (a runtime is slower at 63 channels than at 64), so the test is made from the wide end:

    the next step is the widest width that is clearly faster than the last one,  L(c) < L(last) * (1 - threshold)

The curve is not swept:

1. Multiples of the target's preferred alignment are the prior. They are bisected: a stretch whose ends agree is flat
   and is not looked into; one whose ends differ is split, down to neighbouring multiples.
2. Between neighbouring multiples a < b that differ, the edge should be at a: the narrowest acceptable width above a
   then costs no less than b (the third point). A few pairs are tested: the one below the first multiple, where kernels
   may be others, the widest one, and random ones. A pair that fails may be part of a slope, and there is nothing to
   look for: that width and the middle are not below the line between the ends (an edge further on would leave them
   there), and the former is no stair of its own, above the line and clearly slower than a. Otherwise all pairs are
   tested, and those that are neither are bisected down to the least alignment.
3. At powers of two caches may conflict: the width just below is looked at, from 64 on, as long as it is faster by more
   than the slope there.
4. Random widths are spot-checked. One that costs no more than the next narrower width seen, by the least alignment or
   more away, clearly less than every wider one, and less than the line between its neighbours is a surprise: the
   stretch up to the wider one is bisected down to single channels.

Disturbances only ever add time. Where a width can be timed again, that is done with what they could explain: after
step 1 the multiples that are no step, the full width among them, and the narrowest width if it is one; then the pairs
that fail in step 2, what is faster in step 3, and the surprises of step 4. The lesser time counts.

A slope has no stairs, and any width of it is as good as its neighbours: the multiples that the threshold can tell
apart are its steps.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot

import numpy as np

from toolchain.targets.contract import Alignment


@dataclass(frozen=True)
class Timing:
    """A latency and its noise, relative: half the width of its interval."""

    milliseconds: float
    noise: float = 0.0

    @property
    def noise_ms(self) -> float:
        """The noise in milliseconds."""
        return self.noise * self.milliseconds


def total(timings: Iterable[Timing]) -> Timing:
    """Add timings up; their noises are independent."""
    parts = tuple(timings)
    milliseconds, noise_ms = sum(part.milliseconds for part in parts), hypot(*(part.noise_ms for part in parts))
    return Timing(milliseconds, noise_ms / milliseconds if milliseconds else 0.0)


@dataclass(frozen=True)
class StepTest:
    """How clear a difference has to be, and how much is checked.

    threshold_ms of two timings = max(smallest * ms_2, noises * sqrt((noise_1 ms_1)^2 + (noise_2 ms_2)^2)): in ms, for
    the noise of a timing of microseconds says nothing of its distance to one of milliseconds.
    """

    smallest: float = 0.02
    noises: float = 3.0
    tested_pairs: int = 2
    widths_a_check: int = 192
    """One random width is checked for each so many."""

    def threshold_ms(self, one: Timing, other: Timing) -> float:
        """Return how far the first has to be from the second."""
        return max(self.smallest * other.milliseconds, self.noises * hypot(one.noise_ms, other.noise_ms))

    def faster(self, one: Timing, other: Timing) -> bool:
        """Tell whether the first is clearly faster than the second."""
        return one.milliseconds < other.milliseconds - self.threshold_ms(one, other)


@dataclass(frozen=True)
class Steps:
    """The steps of a curve, widest first, without the full width, and every point that was timed, narrowest first."""

    widths: tuple[int, ...]
    points: tuple[tuple[int, Timing], ...]

    @property
    def timings(self) -> int:
        """How many widths were timed."""
        return len(self.points)


FIRST_POWER = 64
"""With channels last, rows of so many 32-bit channels are a stride that falls on few sets of a cache."""

TimeWidth = Callable[[int], Timing]


def find_steps(
    time_width: TimeWidth,
    full: int,
    alignment: Alignment,
    generator: np.random.Generator,
    test: StepTest | None = None,
    time_again: TimeWidth | None = None,
) -> Steps:
    """Return the steps of the latency over widths 1 to `full`.

    Each width is timed at most once, and where there is doubt once more by `time_again`, which returns the lesser time.
    """
    test = test or StepTest()
    curve = _Curve(time_width, test, time_again)
    multiples = [1, *range(alignment.preferred, full, alignment.preferred), full]
    multiples = sorted(
        {width for width in multiples if width >= min(alignment.least, full)} | {min(alignment.least, full)}
    )
    curve.bisect(multiples)
    curve.refine(multiples)
    steps, (narrowest, *others) = {*steps_of(curve.candidates, test).widths}, multiples
    curve.confirm({*others} - steps | {narrowest} & steps)
    curve.test_pairs(multiples, alignment.least, generator)
    curve.test_powers_of_two(full, alignment.least)
    curve.spot_check(full, alignment, generator)
    return Steps(steps_of(curve.candidates, test).widths, tuple(curve.points))


def sweep_steps(time_width: TimeWidth, widths: Iterable[int], test: StepTest | None = None) -> Steps:
    """Time all widths and return the steps: what `find_steps` has to agree with."""
    return steps_of([(width, time_width(width)) for width in sorted(widths)], test or StepTest())


def steps_of(points: Iterable[tuple[int, Timing]], test: StepTest) -> Steps:
    """Apply the test from the wide end to timed points."""
    ordered = tuple(sorted(points, key=lambda point: point[0]))
    steps: list[int] = []
    last = ordered[-1][1]
    for width, timing in reversed(ordered[:-1]):
        if test.faster(timing, last):
            steps.append(width)
            last = timing
    return Steps(tuple(steps), ordered)


class _Curve:
    """The widths timed so far."""

    def __init__(self, time_width: TimeWidth, test: StepTest, time_again: TimeWidth | None) -> None:
        self._time_width = time_width
        self._time_again = time_again
        self._confirmed: set[int] = set()
        self._test = test
        self._timed: dict[int, Timing] = {}
        self._candidates: set[int] = set()

    @property
    def candidates(self) -> list[tuple[int, Timing]]:
        """The timed widths that may be steps: not those that only showed that there is nothing to look for."""
        return [point for point in self.points if point[0] in self._candidates]

    @property
    def points(self) -> list[tuple[int, Timing]]:
        """All timed widths, narrowest first."""
        return sorted(self._timed.items())

    def at(self, width: int) -> Timing:
        """Time a width, once."""
        if width not in self._timed:
            self._timed[width] = self._time_width(width)
        return self._timed[width]

    def confirm(self, widths: Iterable[int]) -> bool:
        """Time again those that have not been yet; tell whether there were any."""
        doubtful = set(widths) & set(self._timed) - self._confirmed
        if self._time_again is None or not doubtful:
            return False
        self._timed |= {width: self._time_again(width) for width in sorted(doubtful)}
        self._confirmed |= doubtful
        return True

    def flat(self, narrow: int, wide: int) -> bool:
        """Tell whether two widths cost the same, within the threshold."""
        return not self._faster(narrow, wide) and not self._faster(wide, narrow)

    def bisect(self, widths: Sequence[int]) -> None:
        """Time the ends; look between them where they differ."""
        stack = [(0, len(widths) - 1)]
        while stack:
            low, high = stack.pop()
            self._candidates |= {widths[low], widths[high]}
            if not self.flat(widths[low], widths[high]) and high - low > 1:
                middle = (low + high) // 2
                stack += [(low, middle), (middle, high)]

    def refine(self, multiples: Sequence[int]) -> None:
        """Find the widest multiple that is clearly faster than the last step, and from that one the next."""
        last = multiples[-1]
        while faster := [width for width in self._candidates if width < last and self._faster(width, last)]:
            low = multiples.index(max(faster))
            high = next(number for number in range(low + 1, len(multiples)) if multiples[number] in self._candidates)
            while high - low > 1:
                middle = (low + high) // 2
                self._candidates.add(multiples[middle])
                low, high = (middle, high) if self._faster(multiples[middle], last) else (low, middle)
            last = multiples[low]

    def test_pairs(self, multiples: Sequence[int], least: int, generator: np.random.Generator) -> None:
        """Test that no width between two neighbouring multiples is cheaper than the wider one, or that all slope."""
        timed = set(self._timed)
        pairs = [
            (narrow, wide)
            for narrow, wide in pairwise(multiples)
            if {narrow, wide} <= timed and wide - narrow > least and not self.flat(narrow, wide)
        ]
        below = [pair for pair in pairs if pair[1] == multiples[1]]
        above = [pair for pair in pairs if pair not in below]
        chosen = _some(above, max(self._test.tested_pairs - len(below), 1), generator)
        self._look_between(below, least)
        if not all(self._nothing_between(*pair, least) for pair in chosen):
            self._look_between(above, least)

    def test_powers_of_two(self, full: int, least: int) -> None:
        """Look just below powers of two, as long as that is faster by more than the slope there."""
        power = max(FIRST_POWER, 4 * least)
        while power <= full and self._conflicts(power, least):
            self._candidates |= {power - least, power}
            power *= 2

    def _look_between(self, pairs: Iterable[tuple[int, int]], least: int) -> None:
        for narrow, wide in pairs:
            if not self._nothing_between(narrow, wide, least):
                self.bisect([narrow, *range(_next_multiple(narrow, least), wide, least), wide])

    def spot_check(self, full: int, alignment: Alignment, generator: np.random.Generator) -> None:
        """Time random widths; where one beats all wider ones that were timed, look closer."""
        candidates = [width for width in range(1, full) if width not in self._timed]
        count = min(max(full // self._test.widths_a_check, 1), len(candidates))
        for width in generator.choice(candidates, count, replace=False).tolist() if count else ():
            widths = [other for other, _ in self.points]
            place = bisect_left(widths, width)
            if place and self._surprises(widths[place - 1], width, widths[place], alignment.least):
                self.bisect(range(width, widths[place] + 1))

    def _surprises(self, narrow: int, width: int, wide: int, least: int) -> bool:
        if not self._beats_all(narrow, width, wide, least):
            return False
        return not self.confirm((narrow, width, wide)) or self._beats_all(narrow, width, wide, least)

    def _beats_all(self, narrow: int, width: int, wide: int, least: int) -> bool:
        wider = [timing for other, timing in self.points if other > width]
        no_dearer = width - narrow >= least and not self._faster(narrow, width)
        return (
            no_dearer
            and self._off_line(narrow, width, wide) < 0
            and all(self._test.faster(self.at(width), timing) for timing in wider)
        )

    def _faster(self, one: int, other: int) -> bool:
        return self._test.faster(self.at(one), self.at(other))

    def _conflicts(self, power: int, least: int) -> bool:
        below = power - least
        narrow = max(width for width in self._timed if width < below)
        if not self._faster(below, power) or self._off_line(narrow, below, power) >= 0:
            return False
        return not self.confirm((narrow, below, power)) or self._conflicts(power, least)

    def _nothing_between(self, narrow: int, wide: int, least: int) -> bool:
        """Tell whether the widths between two multiples are no better than these: past the edge, or on a slope."""
        first = _next_multiple(narrow, least)
        if not self._faster(first, wide):
            return True
        middle = max((narrow + wide) // 2 // least * least, first)
        if not self._stairs_between(narrow, first, middle, wide):
            return True
        return self.confirm((narrow, first, middle, wide)) and self._nothing_between(narrow, wide, least)

    def _stairs_between(self, narrow: int, first: int, middle: int, wide: int) -> bool:
        """Tell an edge further on, which leaves a point below the line, from a stair of its own, above it."""
        if any(self._off_line(narrow, width, wide) < 0 for width in (first, middle)):
            return True
        return self._faster(narrow, first) and self._off_line(narrow, first, wide) > 0

    def _off_line(self, narrow: int, width: int, wide: int) -> float:
        """Return how far a latency is above the line between two others; 0 within half the threshold of these."""
        ends = (self.at(narrow), self.at(wide))
        line_ms = np.interp(width, (narrow, wide), [end.milliseconds for end in ends])
        above_ms = float(self.at(width).milliseconds - line_ms)
        return above_ms if abs(above_ms) > self._test.threshold_ms(*ends) / 2 else 0.0


def _next_multiple(width: int, least: int) -> int:
    return (width // least + 1) * least


def _some(pairs: Sequence[tuple[int, int]], count: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Return the widest pair and random ones among the others."""
    if len(pairs) <= count:
        return list(pairs)
    others = generator.choice(len(pairs) - 1, count - 1, replace=False)
    return [*(pairs[number] for number in sorted(others.tolist())), pairs[-1]]
