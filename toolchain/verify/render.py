"""A verification for machines and people: JUnit XML, Markdown, and `name=value` lines."""

from __future__ import annotations

from xml.etree import ElementTree

from toolchain.emit.markdown import accuracy_text, latency_text, printable, ratio_text, table
from toolchain.verify.verification import Finding, Verification

HEADINGS = ("check", "finding", "what was found")


def render_junit(verification: Verification) -> str:
    """Write a test suite with one case a check."""
    counts = [item.finding for item in verification.checks]
    suite = ElementTree.Element(
        "testsuite",
        name="prunec verify",
        tests=str(len(counts)),
        failures=str(counts.count(Finding.FAILED)),
        skipped=str(counts.count(Finding.SKIPPED)),
        errors="0",
        time=f"{sum(item.seconds for item in verification.checks):.3f}",
    )
    for item in verification.checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname="prunec.verify", name=item.name, time=f"{item.seconds:.3f}"
        )
        if item.finding is Finding.FAILED:
            ElementTree.SubElement(case, "failure", message=printable(item.text)).text = f"exit code {item.exit_code}"
        elif item.finding is Finding.SKIPPED:
            ElementTree.SubElement(case, "skipped", message=printable(item.text))
        else:
            ElementTree.SubElement(case, "system-out").text = printable(item.text)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def render_summary(verification: Verification) -> str:
    """Write a heading, what was measured, and a table of the checks."""
    parts = [f"## prunec verify: {verification.outcome}"]
    if verification.latency:
        parts.append(f"- latency: {latency_text(verification.latency)}, {ratio_text(verification.latency)}")
    if verification.accuracy:
        parts.append(f"- {verification.accuracy.metric}: {accuracy_text(verification.accuracy)}")
    rows = [(item.name, item.finding, item.text) for item in verification.checks]
    parts += [
        table(HEADINGS, rows),
        f"`{printable(verification.bundle)}`, SHA256SUMS `{verification.checksums_sha256}`",
    ]
    return "\n\n".join(parts) + "\n"


def render_outputs(verification: Verification) -> str:
    """Write `name=value` lines, as GITHUB_OUTPUT and GitLab's dotenv reports take them."""
    latency, accuracy = verification.latency, verification.accuracy
    values = {
        "outcome": verification.outcome,
        "exit_code": str(int(verification.exit_code)),
        "ratio": f"{latency.ratio:.4f}" if latency else "",
        "accuracy": f"{accuracy.value:.4f}" if accuracy else "",
        "checksums_sha256": verification.checksums_sha256,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())
