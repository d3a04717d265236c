"""Pipelines as text: `fold-constants,prune(strategy=greedy,criterion=l2)`, presets, and TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from toolchain.errors import UsageError
from toolchain.options import make, parse_pairs
from toolchain.pipeline.contract import Pass

PRESETS: Mapping[str, str] = {
    "default": "fold-constants,fold-batchnorm,prune,compensate",
    "fold": "fold-constants,fold-batchnorm",
}

PASS = re.compile(r"\s*(?P<name>[a-z0-9-]+)\s*(\((?P<options>[^()]*)\))?\s*")

Catalogue = Mapping[str, type[Pass]]


def parse_passes(text: str, catalogue: Catalogue) -> list[Pass]:
    """Read a comma-separated list of passes with options in parentheses.

    Raises UsageError for a pass, option or value that does not exist, or parentheses that do not close.
    """
    passes: list[Pass] = []
    position = 0
    while position < len(text):
        match = PASS.match(text, position)
        if match is None or (match.end() < len(text) and text[match.end()] != ","):
            raise UsageError(f"--passes: cannot read '{text[position:]}'", hint="write name,name(option=value,...),...")
        _require_pass(match["name"], catalogue)
        passes.append(make_pass(match["name"], parse_pairs(match["options"] or "", f"pass {match['name']}"), catalogue))
        position = match.end() + 1
    if not passes:
        raise UsageError("--passes: no pass is named", hint=f"passes are {', '.join(catalogue)}")
    return passes


def make_pass(name: str, options: Mapping[str, object], catalogue: Catalogue) -> Pass:
    """Build one pass from its options."""
    _require_pass(name, catalogue)
    return make(catalogue[name], options, f"pass {name}")


def _require_pass(name: str, catalogue: Catalogue) -> None:
    if name not in catalogue:
        raise UsageError(f"there is no pass '{name}'", hint=f"passes are {', '.join(catalogue)}")


def read_pipeline(path: Path, catalogue: Catalogue) -> list[Pass]:
    """Read the `[[pass]]` tables of a TOML file, such as the pipeline.toml of a bundle."""
    try:
        tables = tomllib.loads(path.read_text()).get("pass")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not a pipeline file ({error})", hint="see pipeline.toml in any bundle") from error
    listed = isinstance(tables, list) and all(isinstance(item, dict) and "name" in item for item in tables)
    if not tables or not listed:
        raise UsageError(f"{path}: no [[pass]] tables with a name", hint="see pipeline.toml in any bundle")
    return [
        make_pass(item["name"], {key: value for key, value in item.items() if key != "name"}, catalogue)
        for item in tables
    ]
