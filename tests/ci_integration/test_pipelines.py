"""The GitHub action and the GitLab template: valid by the published schemas, and run."""

import re
import shutil
import subprocess
from xml.etree import ElementTree

import jsonschema
import pytest
from pipelines import ACTION, TEMPLATE, load, published_schema, run_action, run_job, scripts

CHECK = "Check the inputs, key the cache by content"


def test_the_action_is_valid_by_the_published_schema():
    (action,) = load(ACTION)
    jsonschema.validate(action, published_schema("github-actions"))


def test_the_template_is_valid_by_the_published_schema():
    schema = published_schema("gitlab-ci")
    for document in load(TEMPLATE):
        jsonschema.validators.validator_for(schema)(schema).validate(document)


def test_no_input_is_pasted_into_a_script():
    for script in scripts():
        assert "${{" not in script
        assert "$[[" not in script


@pytest.mark.parametrize("script", scripts())
def test_every_script_parses(script):
    shell = "bash" if "[[" in script else "sh"
    subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="there is no shellcheck on this machine")
@pytest.mark.parametrize("script", scripts())
def test_shellcheck_has_no_complaint(script):
    shell = "bash" if "[[" in script else "sh"
    done = subprocess.run(["shellcheck", f"--shell={shell}", "-"], input=script, text=True, check=False)
    assert done.returncode == 0


def test_every_output_is_one_that_a_step_writes():
    (action,) = load(ACTION)
    names = {re.search(r"outputs\.(\w+)", item["value"])[1] for item in action["outputs"].values()}
    assert names == {"outcome", "exit_code", "ratio", "accuracy", "checksums_sha256", "junit"}


def test_the_action_compiles_verifies_and_says_so(shell, asked):
    ran = run_action(shell, **asked)
    assert ran.code == 0, ran.text
    assert ran.steps[-2:] == ["Compile", "Verify"]
    assert re.fullmatch(r"prunec-[0-9a-f]{64}", ran.uses[0]["key"])
    found = ran.outputs["verify"]
    assert found["outcome"] == "verified"
    assert 0 < float(found["ratio"]) <= 0.6
    assert float(found["accuracy"]) >= 1
    assert ElementTree.parse(found["junit"]).getroot()[0].get("failures") == "0"
    assert "# prunec: budget met" in ran.summary
    assert "## prunec verify: verified" in ran.summary
    assert not (shell.folder / "oops").exists()
    gate = {**asked, "model": "", "max_ratio": "0.01", "original": asked["model"]}
    missed = run_action(shell, **gate)  # A bundle that is there already.
    assert (missed.code, missed.outputs["verify"]["outcome"]) == (4, "rejected")
    assert missed.steps == [CHECK, "Verify"]
    assert "## prunec verify: rejected" in missed.summary


def test_a_compile_that_fails_fails_the_action_with_its_code(shell, asked):
    (shell.folder / asked["model"]).write_bytes(b"PK\x03\x04")
    ran = run_action(shell, **asked)
    assert (ran.code, ran.steps[-1]) == (3, "Compile")
    assert "not ONNX but a zip archive" in ran.text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": "none.onnx"}, "model: there is no such file"),
        ({"model": "", "bundle": "none"}, "bundle: there is none; give a model to compile"),
        ({"budget": "fast; rm -rf /"}, "budget: write 60% or 4.5ms"),
        ({"data": "none"}, "data: there is no such file or folder"),
        ({"target": "null --help"}, "target: not a name"),
        ({"max_ratio": "60%"}, "max-ratio: write a number, 0.6"),
        ({"min_accuracy": "high"}, "min-accuracy: write a number, 90"),
        ({"data": ""}, "min-accuracy: it needs data"),
        ({"bundle": "--help"}, "bundle: name a folder"),
        ({"model": "--help"}, "model, data: write ./ before a name that begins with -"),
    ],
)
def test_inputs_are_checked_before_anything_runs(shell, asked, change, complaint):
    ran = run_action(shell, **{**asked, **change})
    assert (ran.code, ran.steps) == (2, [CHECK])
    assert ran.text == f"::error title=prunec::{complaint}\n"


def test_the_cache_key_is_that_of_the_content(shell, asked):
    def key(**changes):
        return run_action(shell, last=CHECK, **{**asked, **changes}).outputs["inputs"]["key"]

    first = key()
    assert key(bundle="elsewhere", max_ratio="0.9") == first
    assert key(budget="50%") != first
    with (shell.folder / asked["model"]).open("ab") as stream:
        stream.write(b"\x00")
    assert key() != first


def test_the_job_compiles_and_verifies(shell, asked):
    ran = run_job(shell, image="prunec", **asked)
    assert ran.code == 0, ran.text
    assert "outcome=verified\n" in (shell.folder / "prunec.env").read_text()
    assert ElementTree.parse(shell.folder / "prunec-junit.xml").getroot()[0].get("failures") == "0"
    assert (shell.folder / "prunec-summary.md").read_text().startswith("## prunec verify: verified")
    assert not (shell.folder / "oops").exists()
    with (shell.folder / "build" / "model.onnx").open("ab") as stream:
        stream.write(b"\x00")
    spoiled = run_job(shell, image="prunec", **{**asked, "model": ""})
    assert spoiled.code == 3
    assert "outcome=rejected\n" in (shell.folder / "prunec.env").read_text()


def test_the_jobs_reports_are_the_files_that_it_writes():
    ((_, job),) = load(TEMPLATE)[1].items()
    written = re.findall(r"--(?:junit|markdown|outputs)=(\S+)", "\n".join(job["script"]))
    reports = job["artifacts"]["reports"].values()
    assert set(written) == {*reports, *(path for path in job["artifacts"]["paths"] if path.startswith("prunec"))}
