import subprocess

from command import arguments, environment, prunec

from toolchain import __version__


def test_the_version(tmp_path):
    done = prunec("--version", cwd=tmp_path)
    assert (done.code, done.stdout, done.stderr) == (0, f"prunec {__version__}\n", "")


def test_passes_strategies_criteria_and_targets_are_listed_with_options(tmp_path):
    done = prunec("passes", cwd=tmp_path)
    assert done.code == 0
    for text in ("fold-constants", "size_threshold_bytes=16777216", "greedy", "wanda", "onnxruntime", "threads=0"):
        assert text in done.stdout


def test_a_reader_that_leaves_early_is_no_defect(tmp_path):
    line = f"set -o pipefail; {subprocess.list2cmdline(arguments('passes'))} | head -1"
    done = subprocess.run(
        ["bash", "-c", line], env=environment(tmp_path), capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stderr == ""


def test_without_a_command_there_is_help(tmp_path):
    done = prunec(cwd=tmp_path)
    assert done.code == 2
    assert "Usage: prunec [OPTIONS] COMMAND" in done.stdout + done.stderr
