from xml.etree import ElementTree

from toolchain.verify.render import render_junit, render_outputs, render_summary
from toolchain.verify.verification import CheckFigure, Finding, Verification

POISON = "a|b\n<b>&\x1b[2J\x00]]>\ud800"


def verification(**changes):
    checks = (
        CheckFigure(name="files", finding=Finding.PASSED, text=POISON, seconds=0.5),
        CheckFigure(name="engine", finding=Finding.FAILED, text=POISON, seconds=1.25, exit_code=3),
        CheckFigure(name="latency", finding=Finding.SKIPPED, text="not asked for", seconds=0.0),
    )
    return Verification(**{"bundle": POISON, "checksums_sha256": "0" * 64, "checks": checks, **changes})


def test_junit_has_a_case_a_check_and_survives_any_text():
    suite = ElementTree.fromstring(render_junit(verification()))[0]
    assert suite.attrib.items() >= {"tests": "3", "failures": "1", "skipped": "1", "errors": "0"}.items()
    assert [case.get("name") for case in suite] == ["files", "engine", "latency"]
    assert [child.tag for case in suite for child in case] == ["system-out", "failure", "skipped"]
    assert "\\x1b[2J\\x00]]>\\ud800" in suite[1][0].get("message")
    assert suite[1][0].text == "exit code 3"


def test_the_summary_keeps_any_text_in_its_cell():
    text = render_summary(verification())
    assert text.startswith("## prunec verify: rejected\n")
    assert "| engine | failed | a\\|b <b>&\\x1b[2J\\x00]]>\\ud800 |" in text.splitlines()


def test_outputs_are_one_line_a_value_whatever_the_bundle_is_called():
    assert render_outputs(verification()).splitlines() == [
        "outcome=rejected",
        "exit_code=3",
        "ratio=",
        "accuracy=",
        f"checksums_sha256={'0' * 64}",
    ]
