"""What holds the tree together: who imports whom, what is called what, how long a file may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchain.criterion import Criterion
from toolchain.emit.torch_module.emitter import Emitter
from toolchain.graph.rule import Rule
from toolchain.pipeline.contract import Pass
from toolchain.registry import by_name, scan
from toolchain.strategies.contract import Strategy
from toolchain.targets.contract import Target

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("toolchain", "passes", "models") for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

RUNTIMES = {"onnxruntime", "tensorrt", "tensorrt_rtx", "openvino"}
KINDS = (
    ("passes", Pass),
    ("passes.criteria", Criterion),
    ("passes.emitters", Emitter),
    ("passes.rules", Rule),
    ("toolchain.strategies", Strategy),
    ("toolchain.targets", Target),
)
FAMILIES = {Rule, Emitter}
"""Kinds of which a file holds as many as its family of ops needs."""
TEST_PREFIX = {"passes.emitters": "test_emit_"}
"""What the tests of a kind are called by, where another kind has files of the same names."""
TOP_LEVEL = {"Dockerfile", "LICENSE", "README.md", "models", "passes", "pyproject.toml", "tests", "toolchain"}

MODULES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SOURCES]


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of everything a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", MODULES)
def test_imports_go_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    forbidden = {"toolchain": {"passes", "models", "tests"}, "passes": {"models", "tests"}, "models": {"tests"}}
    assert not roots(path) & forbidden[package]


@pytest.mark.parametrize("path", MODULES)
def test_only_a_targets_own_file_imports_its_runtime(path):
    if path.parent != ROOT / "toolchain" / "targets":
        assert not roots(path) & RUNTIMES


@pytest.mark.parametrize("path", MODULES)
def test_only_the_command_line_knows_the_command_lines_libraries(path):
    if "cli" not in path.relative_to(ROOT).parts:
        assert not {"typer", "rich"} & roots(path)


@pytest.mark.parametrize(("command", "slow"), [("--version", "torch scipy"), ("passes", "torch")])
def test_a_command_does_not_load_what_it_does_not_need(command, slow):
    program = [
        "import sys, runpy, contextlib",
        f"sys.argv = ['prunec', {command!r}]",
        "with contextlib.suppress(SystemExit): runpy.run_module('toolchain.cli.main', run_name='__main__')",
        f"print([name for name in {slow.split()!r} if name in sys.modules])",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", [*MODULES, *(pytest.param(path, id=path.name) for path in TESTS)])
def test_a_file_is_at_most_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES)
def test_a_module_holds_no_state(path):
    """A name in lower case that is bound to a value at the top of a module would be state, or be taken for it."""
    for node in ast.parse(path.read_text()).body:
        for target in assigned(node):
            constant = target.strip("_").isupper() or target == "__version__"
            assert constant or re.fullmatch(r"_?[A-Z]\w*|app", target), f"{path}: {target}"


def assigned(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_no_module_rebinds_a_global():
    for path in SOURCES:
        assert not any(isinstance(node, ast.Global) for node in ast.walk(ast.parse(path.read_text()))), path


@pytest.mark.parametrize(
    "item", [pytest.param(item, id=item.__name__) for package, base in KINDS for item in scan(package, base)]
)
def test_every_plug_in_has_a_test_of_its_files_name(item):
    folder, _, module = item.__module__.rpartition(".")
    mirrored = Path(*folder.removeprefix("toolchain.").split("."))
    assert (ROOT / "tests" / mirrored / f"{TEST_PREFIX.get(folder, 'test_')}{module}.py").is_file()


@pytest.mark.parametrize(
    ("name", "item"),
    [
        pytest.param(name, item, id=item.__name__)
        for package, base in KINDS
        if base not in FAMILIES
        for name, item in by_name(package, base).items()
    ],
)
def test_file_and_class_are_called_alike(name, item):
    assert item.__name__ == "".join(part.capitalize() for part in name.split("-"))
    assert item.__doc__, "it is listed by the first line of its docstring"


def test_a_pass_is_called_like_its_file():
    for name, item in by_name("passes", Pass).items():
        assert item.name() == name


def test_a_target_is_called_like_its_file():
    for name, item in by_name("toolchain.targets", Target).items():
        assert item.name == name


@pytest.mark.parametrize(("package", "base"), KINDS, ids=[package for package, _ in KINDS])
def test_a_file_makes_at_most_one_plug_in(package, base):
    modules = [item.__module__ for item in scan(package, base)]
    if base not in FAMILIES:
        assert len(modules) == len(set(modules))


def test_the_top_level_holds_nothing_else():
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    allowed = TOP_LEVEL | {"__pycache__"} | {name for name in found if name.endswith(".egg-info")}
    assert found <= allowed, found - allowed


def test_names_of_test_files_are_unique():
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})
