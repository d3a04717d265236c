from toolchain.emit.markdown import count_text, latency_text, printable, ratio_text, render_markdown
from toolchain.emit.report import Environment, FrozenGroupFigure, GroupFigure, PruningFigure, Report


def report(**changes):
    given = {
        "outcome": "budget met",
        "exit_code": 0,
        "message": "58.0 % of the original latency for a budget of 60%",
        "model_path": "net.onnx",
        "model_sha256": "0" * 64,
        "budget": "60%",
        "command": "prunec compile net.onnx --budget 60%",
        "seed": 0,
        "environment": Environment.here(),
    }
    return Report(**{**given, **changes})


def pruning(name, reason="because"):
    return PruningFigure(
        criterion="l2",
        trials=(),
        groups=(GroupFigure(name=name, width_before=8, width_after=4),),
        frozen_groups=(FrozenGroupFigure(name="y", width=4, reason=reason),),
        prunable_channel_share=2 / 3,
    )


def cells(text, start):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return line


def test_what_is_missing_is_left_out():
    text = render_markdown(report())
    assert text.startswith("# prunec: budget met\n\n58.0 % of the original latency for a budget of 60%\n")
    for heading in ("## Widths", "## Frozen groups", "## Search", "## Not known"):
        assert heading not in text
    assert "    prunec compile net.onnx --budget 60%" in text


def test_a_name_with_a_pipe_stays_in_its_cell():
    text = render_markdown(report(pruning=pruning("block|conv")))
    assert "| block\\|conv | 8 | 4 |" in text


def test_a_name_with_a_newline_stays_in_its_row():
    text = render_markdown(report(pruning=pruning("block\nconv", "two\nlines")))
    assert cells(text, "block") == "| block conv | 8 | 4 |"
    assert cells(text, "y") == "| y | 4 | two lines |"


def test_a_name_cannot_command_the_terminal_that_shows_the_report():
    text = render_markdown(report(pruning=pruning("\x1b[2J\rconv")))
    assert "\x1b" not in text
    assert "\r" not in text
    assert cells(text, "\\x1b[2J\\rconv") == "| \\x1b[2J\\rconv | 8 | 4 |"


def test_printable_text_stays_as_it_is():
    assert printable("Größe 3 ≥ 2\n") == "Größe 3 ≥ 2\n"


def test_figures_are_short():
    assert [count_text(n) for n in (0, 999, 1000, 953_738, 11_700_000, 4_100_000_000)] == [
        "0",
        "999",
        "1k",
        "954k",
        "11.7M",
        "4.1G",
    ]
    assert latency_text(None) == ratio_text(None) == "-"
