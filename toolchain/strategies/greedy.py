"""`greedy`: narrow the group that saves most latency per lost importance, time the whole engine, repeat.

The saving of a move is predicted from multiply-accumulates and corrected by measurement: after each timing the
groups that were narrowed learn how much of their predicted saving was real. On a target where narrowing below
a stair gains nothing, a group's prediction falls towards zero and others take their turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.graph.plan import removed_units
from toolchain.strategies.contract import Found, Problem, Strategy, Trial, aligned_widths, fastest

LEARNED_RANGE = (0.05, 2.0)
"""Bounds on how far one noisy timing may change a prediction."""


@dataclass(frozen=True)
class Move:
    """Narrow a group to a width: what that is predicted to save (as a ratio of the original) and what it loses."""

    group: str
    width: int
    saving: float
    loss: float

    @property
    def gain(self) -> float:
        """Return the saving per lost importance."""
        return self.saving / max(self.loss, 1e-12)


@dataclass(frozen=True)
class Greedy(Strategy):
    """Latency per lost importance, whole-engine timing after each step.

    `step` is the share of the remaining gap that one step of moves is predicted to close; `smallest_step`
    bounds it below, in ratio points of the original's latency.
    """

    step: float = 0.5
    smallest_step: float = 0.01
    max_trials: int = 40

    def search(self, problem: Problem) -> Found:
        """Move and time until the interval of the ratio lies within the budget."""
        state = _State(problem)
        trials: list[Trial] = []
        ratio = 1.0
        while len(trials) < self.max_trials:
            moves = self._next_moves(state, max(self.step * (ratio - problem.ratio), self.smallest_step))
            if not moves:
                break
            trial = problem.attempt(state.widths)
            trials.append(trial)
            if trial.meets(problem.ratio):
                return Found(trial, tuple(trials), True)
            state.learn(moves, ratio - trial.comparison.ratio)
            ratio = trial.comparison.ratio
        return Found(fastest(trials), tuple(trials), False)

    def _next_moves(self, state: _State, wanted: float) -> list[Move]:
        moves: list[Move] = []
        while sum(move.saving for move in moves) < wanted:
            best = max(state.candidates(), key=lambda move: move.gain, default=None)
            if best is None:
                break
            state.widths[best.group] = best.width
            moves.append(best)
        return moves


class _State:
    """The widths so far, and what has been learned about each group's savings."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._choices = {
            group.name: aligned_widths(group, problem.alignment) for group in problem.analysis.prunable_groups
        }
        self.widths = {group.name: group.width for group in problem.analysis.prunable_groups}
        self._realised = dict.fromkeys(self.widths, 1.0)
        self._total = problem.cost_model.total.macs

    def candidates(self) -> list[Move]:
        """Return each group's next narrower width with its predicted saving."""
        removed = removed_units(self._problem.analysis, self._problem.plan(self.widths))
        now = self._problem.cost_model.of(removed).macs
        return [move for name in self._choices if (move := self._move(name, removed, now)) is not None]

    def learn(self, moves: list[Move], saved: float) -> None:
        """Scale the predictions of the groups that moved by what was measured."""
        predicted = sum(move.saving for move in moves)
        low, high = LEARNED_RANGE
        realised = float(np.clip(saved / max(predicted, 1e-9), low, high))
        for name in {move.group for move in moves}:
            self._realised[name] *= realised

    def _move(self, name: str, removed: np.ndarray, macs: int) -> Move | None:  # type: ignore[type-arg]
        width = next((width for width in self._choices[name] if width < self.widths[name]), None)
        if width is None:
            return None
        problem = self._problem
        order = problem.analysis.by_name[name].units[np.argsort(problem.importance[name], kind="stable")]
        narrower = removed.copy()
        narrower[order[: len(order) - width]] = True
        saving = (macs - problem.cost_model.of(narrower).macs) / self._total * self._realised[name]
        loss = problem.loss(name, width) - problem.loss(name, self.widths[name])
        return Move(name, width, saving, loss)
