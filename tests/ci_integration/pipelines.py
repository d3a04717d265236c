"""Runs the shell parts of a GitHub action and of a GitLab job as their runners do, with `prunec` on the path."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import check_jsonschema
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "prunec" / "action.yml"
TEMPLATE = ROOT / ".gitlab" / "templates" / "prunec.yml"
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
INPUT = re.compile(r"\$\[\[ inputs\.([a-z-]+) \]\]")


@cache
def load(path: Path) -> list[Any]:
    """Read the documents of a YAML 1.2 file."""
    return list(YAML(typ="safe").load_all(path.read_text()))


def published_schema(name: str) -> Any:
    """Return a schema that check-jsonschema ships."""
    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    return json.loads((folder / f"{name}.json").read_text())


@dataclass
class Ran:
    """What a pipeline left behind."""

    code: int = 0
    text: str = ""
    steps: list[str] = field(default_factory=list)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    summary: str = ""
    uses: list[dict[str, str]] = field(default_factory=list)


class Shell:
    """A folder to run in, with a `prunec` that is this tree's."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.scratch = scratch
        tools = scratch / "bin"
        tools.mkdir()
        (tools / "prunec").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m toolchain.cli.main "$@"\n')
        (tools / "prunec").chmod(0o755)
        path = f"{tools}:{os.environ['PATH']}"
        cache_folder = str(folder / ".cache")
        self.environ = {"PATH": path, "HOME": str(scratch), "PYTHONPATH": str(ROOT), "PRUNEC_CACHE": cache_folder}

    def run(self, command: list[str], script: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run one script."""
        return subprocess.run(
            [*command, script],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )


def run_action(shell: Shell, *, last: str = "", **inputs: str) -> Ran:
    """Run the composite action's steps until one fails, or to a last one; the cache never hits."""
    (action,) = load(ACTION)
    given = {name: str(item.get("default", "")) for name, item in action["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    ran = Ran()
    for number, step in enumerate(action["runs"]["steps"]):
        if not _holds(step.get("if", "true"), given, ran):
            continue
        ran.steps.append(step["name"])
        if "uses" in step:
            ran.uses.append({name: _filled(value, given, ran) for name, value in step["with"].items()})
            continue
        _run_step(shell, number, step, given, ran)
        if ran.code or step["name"] == last:
            break
    return ran


def _run_step(shell: Shell, number: int, step: Mapping[str, Any], given: Mapping[str, str], ran: Ran) -> None:
    files = {name: shell.scratch / f"{name}-{number}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for path in files.values():
        path.touch()
    environ = {name: _filled(value, given, ran) for name, value in step.get("env", {}).items()}
    environ |= {name: str(path) for name, path in files.items()} | {"RUNNER_TEMP": str(shell.scratch)}
    done = shell.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"], step["run"], environ)
    ran.code, ran.text = done.returncode, ran.text + done.stdout
    ran.summary += files["GITHUB_STEP_SUMMARY"].read_text()
    lines = files["GITHUB_OUTPUT"].read_text().splitlines()
    ran.outputs[step.get("id", "")] = dict(line.split("=", 1) for line in lines)


def _holds(condition: str, given: Mapping[str, str], ran: Ran) -> bool:
    return all(_term_holds(term, given, ran) for term in condition.split(" && "))


def _term_holds(term: str, given: Mapping[str, str], ran: Ran) -> bool:
    if term == "true":
        return True
    left, right = term.split(" != ")
    return _value(left, given, ran) != right.strip("'")


def _filled(text: str, given: Mapping[str, str], ran: Ran) -> str:
    return EXPRESSION.sub(lambda match: _value(match[1], given, ran), text)


def _value(expression: str, given: Mapping[str, str], ran: Ran) -> str:
    """Evaluate `inputs.x`, `steps.y.outputs.z` and `a || b`."""
    for part in expression.split(" || "):
        kind, *names = part.split(".")
        value = given[names[0]] if kind == "inputs" else ran.outputs.get(names[0], {}).get(names[2], "")
        if value:
            return value
    return ""


def run_job(shell: Shell, **inputs: str) -> Ran:
    """Run the GitLab job's script, its inputs put in as text as GitLab does."""
    spec, jobs = load(TEMPLATE)
    declared = spec["spec"]["inputs"]
    given = {name: str(item["default"]) for name, item in declared.items() if "default" in item}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    for name, value in given.items():
        assert re.search(declared[name].get("regex", ""), value), f"GitLab refuses {name}"
    ((_, job),) = jobs.items()
    environ = {"CI_PROJECT_DIR": str(shell.folder)}
    environ |= {
        name: INPUT.sub(lambda match: given[match[1]], item["value"])
        for name, item in job["variables"].items()
        if isinstance(item, dict)
    }
    ran = Ran()
    for script in job["script"]:
        done = shell.run(["sh", "-c"], script, environ)
        ran.code, ran.text = done.returncode, ran.text + done.stdout
        if ran.code:
            break
    return ran


def scripts() -> list[str]:
    """Return every shell script of both."""
    (action,) = load(ACTION)
    steps = [step["run"] for step in action["runs"]["steps"] if "run" in step]
    return steps + [script for job in load(TEMPLATE)[1].values() for script in job["script"]]
