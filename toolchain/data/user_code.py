"""The user's Python files, data scripts and metrics: code that runs with the rights of this process."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from toolchain.errors import DataError, PrunecError


def load_function(path: Path, name: str) -> Callable[..., Any]:
    """Run a Python file and return the function `name` that it defines."""
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    with user_code(path):
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    function = getattr(module, name, None)
    if not callable(function):
        defined = sorted(key for key, value in vars(module).items() if callable(value) and key[0] != "_")
        raise DataError(
            f"{path}: no function '{name}' in it; it defines {', '.join(defined) or 'none'}",
            hint=f"define `def {name}(...)` at the top level",
        )
    return function  # type: ignore[no-any-return]


@contextmanager
def user_code(path: Path) -> Iterator[None]:
    """Let the file import its neighbours, and turn whatever it raises into a DataError with file and line."""
    sys.path.insert(0, str(path.parent))
    try:
        yield
    except PrunecError:
        raise
    except (
        Exception,
        SystemExit,
    ) as error:  # foreign code may raise anything, and none of it is our traceback
        raise DataError(f"{_place(path, error)}: {type(error).__name__}: {error}", hint="mend the file") from error
    finally:
        sys.path.remove(str(path.parent))


def _place(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)
