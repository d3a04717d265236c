"""The errors a user can meet, one tree, each with its exit code.

    PrunecError                 1   internal error
    ├── UsageError              2   an option, a path, the data: the call is wrong
    │   └── DataError           2   the data does not fit the model
    ├── ModelError              3   the model is broken, unsupported, or has nothing to prune
    │   └── BundleError         3   a bundle is not what its papers say
    ├── BudgetMissed            4   the budget was not met
    ├── AccuracyFloorMissed     5   the accuracy floor was not met
    ├── EnvironmentMissing      6   no GPU, a library that is absent or of the wrong version
    │   └── NoRoom              6   a disk is full
    └── TooNoisy                7   the machine is too noisy to decide
    (interrupted)             130

An error says what happened, where (node, op, tensor, axis, path), why, and what to do.
"""

import errno
from enum import IntEnum

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where there is no room for a file."""


class ExitCode(IntEnum):
    """What the process returns to its caller."""

    MET = 0
    INTERNAL = 1
    USAGE = 2
    MODEL = 3
    BUDGET_MISSED = 4
    ACCURACY_MISSED = 5
    ENVIRONMENT = 6
    TOO_NOISY = 7
    INTERRUPTED = 130


class PrunecError(Exception):
    """An error of this tool: what happened (with where and why), and what to do about it."""

    exit_code = ExitCode.INTERNAL

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(f"{what}; {hint}" if hint else what)
        self.what = what
        self.hint = hint


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM: what was found so far is kept. No PrunecError, so that nothing handles it on the way."""


class UsageError(PrunecError):
    """The call is wrong: an option, a path, a file."""

    exit_code = ExitCode.USAGE


class DataError(UsageError):
    """The data does not fit the model, or cannot be read."""


class ModelError(PrunecError):
    """The model is broken, unsupported, or has nothing that can be pruned."""

    exit_code = ExitCode.MODEL


class BundleError(ModelError):
    """A bundle is not what its papers say: damaged, mixed up, or made by a newer version."""


class BudgetMissed(PrunecError):
    """The budget was not met; what was found is in the report."""

    exit_code = ExitCode.BUDGET_MISSED


class AccuracyFloorMissed(PrunecError):
    """The accuracy fell through the floor; what was found is in the report."""

    exit_code = ExitCode.ACCURACY_MISSED


class EnvironmentMissing(PrunecError):
    """The machine lacks what the target needs."""

    exit_code = ExitCode.ENVIRONMENT


class NoRoom(EnvironmentMissing):
    """A disk is full, or a quota is used up."""

    def __init__(self, reason: str) -> None:
        hint = "make room, or set TMPDIR (engines) and PRUNEC_CACHE (measurements) to folders that have more of it"
        super().__init__(f"a file cannot be written: {reason}", hint=hint)


class TooNoisy(PrunecError):
    """The measurement's interval did not become narrow enough to decide."""

    exit_code = ExitCode.TOO_NOISY
