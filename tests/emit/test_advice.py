import pytest
from test_markdown import report

from toolchain.emit.advice import advice_of
from toolchain.emit.html.render import render_html
from toolchain.emit.markdown import render_markdown
from toolchain.emit.report import AccuracyFigure, PassFigure


def accuracy(value, margin=None):
    low, high = (None, None) if margin is None else (value - margin, value + margin)
    return AccuracyFigure(metric="top-1", value=value, unit="%", low=low, high=high, samples=64, extras=())


def figure(name, score, status="kept"):
    return PassFigure(
        name=name, status=status, parameters=1, macs=1, size_bytes=1, seconds=1.0,
        latency=None, accuracy=score, equivalence=None, notes=(), reason="",
    )  # fmt: skip


def passes(before, after, last="compensate"):
    return (figure("original", before), figure(last, after), figure("rematch", accuracy(0.0), "rolled back"))


def test_a_network_that_lost_accuracy_is_to_be_trained_everywhere_it_is_reported():
    fell = report(passes=passes(accuracy(37.58), accuracy(1.14)))
    line = "top-1 fell from 37.58 to 1.14: train it before it ships"
    assert advice_of(fell).startswith(line)
    assert f"\n\n{line}" in render_markdown(fell)
    assert line in render_html(fell)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (accuracy(90.0, 1.0), accuracy(88.5, 1.0)),  # the intervals overlap
        (accuracy(90.0), accuracy(89.2)),  # less than a hundredth of it
        (accuracy(90.0, 1.0), accuracy(91.0, 1.0)),
        (None, None),
    ],
)
def test_what_may_be_noise_needs_no_advice(before, after):
    assert advice_of(report(passes=passes(before, after))) is None


def test_a_trained_network_and_an_empty_report_need_none():
    assert advice_of(report(passes=passes(accuracy(90.0, 1.0), accuracy(50.0, 1.0), last="finetune"))) is None
    assert advice_of(report()) is None
