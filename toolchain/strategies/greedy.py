"""`greedy`: narrow the group that saves most latency per lost importance, time the whole engine, repeat.

The saving of a move is predicted from multiply-accumulates in whole blocks of the target's alignment, and corrected
by measurement: after each timing the groups that were narrowed learn how much of their predicted saving was real.
Where narrowing gains nothing, a group's prediction falls towards zero and others take their turn. Once within the
budget, what is left of it is spent: groups are widened again, those first that win back most importance per latency.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.latency.contract import Widths
from toolchain.strategies.contract import Found, Problem, Strategy, Trial, fastest

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
    max_refusals: int = 3
    """How many widenings in a row may fail before the rest of the budget is left unspent."""

    def search(self, problem: Problem) -> Found:
        """Move and time until the interval of the ratio lies within the budget."""
        state = _State(problem)
        trials: list[Trial] = []
        ratio, cost = 1.0, problem.cost_model.total
        while len(trials) < self.max_trials:
            excess = problem.limits.excess(ratio, cost, problem.cost_model.total)
            moves = self._next_moves(state, max(self.step * excess, self.smallest_step))
            if not moves:
                break
            trial = problem.attempt(state.widths)
            trials.append(trial)
            if problem.ratio < 1:
                state.learn(moves, ratio - trial.comparison.ratio)
            ratio, cost = trial.comparison.ratio, trial.cost
            if trial.met:
                return Found(self._widened(problem, state, trials), tuple(trials), True)
        return Found(fastest(trials), tuple(trials), False)

    def _widened(self, problem: Problem, state: _State, trials: list[Trial]) -> Trial:
        """Take moves back while the budget holds, and return the last trial within it."""
        best, refused = trials[-1], set[str]()
        while len(trials) < self.max_trials and len(refused) < self.max_refusals:
            spare = problem.ratio - best.comparison.high
            fitting = [move for move in state.undoable() if move.saving <= spare and move.group not in refused]
            if not fitting:
                break
            move = max(fitting, key=lambda move: move.loss / max(move.saving, 1e-12))
            narrow = state.widths[move.group]
            state.widths[move.group] = move.width
            trial = problem.attempt(state.widths)
            trials.append(trial)
            if trial.met:
                best = trial
            else:
                refused.add(move.group)
                state.widths[move.group] = narrow
        return best

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
        self._choices = {group.name: problem.choices(group) for group in problem.analysis.prunable_groups}
        self.widths = {group.name: group.width for group in problem.analysis.prunable_groups}
        self._realised = dict.fromkeys(self.widths, 1.0)
        self._total = self._macs({})

    def candidates(self) -> list[Move]:
        """Return, for each group, the next narrower width and the removal of its branch, where they save anything."""
        moves = [self._between(name, self.widths[name], width) for name in self._choices for width in self._next(name)]
        return [move for move in moves if move.saving > 0]

    def learn(self, moves: list[Move], saved: float) -> None:
        """Scale the predictions of the groups that moved by what was measured."""
        predicted = sum(move.saving for move in moves)
        low, high = LEARNED_RANGE
        realised = float(np.clip(saved / max(predicted, 1e-9), low, high))
        for name in {move.group for move in moves}:
            self._realised[name] *= realised

    def undoable(self) -> list[Move]:
        """Return, for each narrowed group, the move that led to its width; `width` is the one to go back to."""
        moves = []
        for name, choices in self._choices.items():
            full = self._problem.analysis.by_name[name].width
            wider = min((width for width in (full, *choices) if width > self.widths[name]), default=None)
            if wider is not None:
                moves.append(replace(self._between(name, wider, self.widths[name]), width=wider))
        return moves

    def _next(self, name: str) -> set[int]:
        narrower = [width for width in self._choices[name] if width < self.widths[name]]
        return {max(narrower), min(narrower)} if 0 in narrower else set(narrower[:1])

    def _between(self, name: str, wide: int, narrow: int) -> Move:
        """Predict what narrowing a group saves and loses, the other groups as they are."""
        problem = self._problem
        saved = self._macs({**self.widths, name: wide}) - self._macs({**self.widths, name: narrow})
        saving = saved / self._total * self._realised[name]
        return Move(name, narrow, saving, problem.loss(name, narrow) - problem.loss(name, wide))

    def _macs(self, widths: Widths) -> int:
        """Count multiply-accumulates: in the target's blocks, unless it is counts alone that are limited."""
        plan = self._problem.plan(widths)
        return self._problem.stair_macs(plan) if self._problem.ratio < 1 else self._problem.cost(plan).macs
