"""The page as text, and in a real browser where there is one."""

import html
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from toolchain.emit.html.plots import Scale, stair_plot
from toolchain.emit.html.render import bytes_text, render_html
from toolchain.emit.report import (
    AccuracyFigure,
    Environment,
    FrozenGroupFigure,
    GroupFigure,
    LatencyFigure,
    LayerFigure,
    PassFigure,
    PruningFigure,
    Report,
    StairFigure,
    TargetFigure,
    TrialFigure,
)
from toolchain.measure.comparison import Verdict

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
PHONE = 390
PROBE = """<!doctype html><meta charset="utf-8"><body><iframe id="page" width="{width}" height="3000"></iframe>
<pre id="found"></pre><script>
const page = document.getElementById("page");
page.onload = () => {{
  const inner = page.contentDocument, root = inner.documentElement;
  const plots = [...inner.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect())
    .filter(box => box.width > 100 && box.height > 50 && box.right <= {width}).length;
  const ink = getComputedStyle(inner.body).color;
  document.getElementById("found").textContent = `scroll ${{root.scrollWidth}} plots ${{plots}} ink ${{ink}} end`;
}};
page.srcdoc = {page};
</script>"""


def latency(ratio):
    return LatencyFigure(
        median_ms=4 * ratio,
        original_median_ms=4.0,
        p10_ms=3.9 * ratio,
        p90_ms=4.2 * ratio,
        samples=100,
        clock="host",
        batch=1,
        ratio=ratio,
        ratio_low=ratio - 0.01,
        ratio_high=ratio + 0.01,
        verdict=Verdict.FASTER,
        measured=True,
        converged=True,
    )


def step(name, ratio, accuracy, status="kept"):
    score = AccuracyFigure(metric="top1", value=accuracy, unit="%", low=None, high=None, samples=450, extras=())
    return PassFigure(
        name=name,
        status=status,
        parameters=950_000,
        macs=int(192e6 * ratio),
        size_bytes=3_840_000,
        seconds=1.5,
        latency=latency(ratio),
        accuracy=score,
        equivalence=None,
        notes=("16 nodes folded",),
        reason="",
    )


def report(name="/layer1/layer1.0/conv1/Conv", **changes):
    given = {
        "outcome": "budget met",
        "exit_code": 0,
        "message": "58.0 % of the original latency for a budget of 60%",
        "model_path": "net.onnx",
        "model_sha256": "0" * 64,
        "budget": "60%",
        "command": f"prunec compile net.onnx --budget 60% {'--evaluation-samples 450 ' * 8}",
        "seed": 0,
        "target": TargetFigure(
            name="onnxruntime",
            device="a processor",
            driver="",
            runtime="onnxruntime 1.31",
            precision="as in the model",
            options=(("threads", "1"),),
            measured=True,
        ),
        "unknown": ("what tomorrow brings",),
        "passes": (step("original", 1.0, 99.5, "original"), step("prune", 0.58, 10.2), step("rematch", 0.58, 98.9)),
        "pruning": PruningFigure(
            criterion="wanda",
            trials=tuple(
                TrialFigure(macs=int(192e6 * r), parameters=1, ratio=r, ratio_low=r, ratio_high=r, loss=1 - r)
                for r in (0.8, 0.7, 0.58)
            ),
            groups=(GroupFigure(name=name, width_before=64, width_after=40),),
            frozen_groups=(FrozenGroupFigure(name=name, width=10, reason=f"graph output '{name}': its size"),),
            prunable_channel_share=0.9,
            layers=(
                LayerFigure(
                    name=name,
                    op_type="Conv",
                    outputs_before=64,
                    outputs_after=40,
                    inputs_before=64,
                    inputs_after=64,
                    notes=("40 outputs are no multiple of 16",),
                ),
            ),
        ),
        "stairs": (
            StairFigure(
                layer=name, widths=(16, 32, 48, 64), median_ms=(0.1, 0.2, 0.2, 0.4), steps=(16, 48), chosen_width=48
            ),
        ),
        "environment": Environment.here(),
    }
    return Report(**{**given, **changes})


class Reader(HTMLParser):
    """Collects headings' ids, addresses that would be loaded, and counts elements."""

    def __init__(self):
        super().__init__()
        self.ids, self.loaded, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.loaded += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]


def read(text):
    reader = Reader()
    reader.feed(text)
    return reader


def test_every_section_is_there():
    page = read(render_html(report()))
    assert page.ids == ["passes", "candidates", "widths", "layers", "frozen", "stairs", "unknown", "reproduce"]
    assert page.tags.count("svg") == 3


def test_nothing_is_loaded_and_nothing_runs():
    text = render_html(report())
    page = read(text)
    assert page.loaded == []
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import", text)


def test_a_report_of_a_failure_is_a_page_too():
    text = render_html(
        report(outcome="failed", exit_code=3, passes=(), pruning=None, target=None, stairs=(), unknown=())
    )
    assert read(text).ids == ["reproduce"]


def test_names_are_data():
    poison = "<script>alert(1)</script>\"'&\x1b[2J"
    text = render_html(report(poison, message=poison, command=poison, model_path=poison))
    assert "<script>" not in text
    assert "\x1b" not in text
    assert text.count(html.escape("<script>alert(1)</script>").replace("&quot;", '"')) >= 8


def test_the_headline_is_that_of_the_pass_that_ships():
    undone = step("rematch", 0.3, 1.0, "rolled back")
    text = render_html(report(passes=(step("original", 1.0, 99.5), step("fold", 0.97, 99.5), undone)))
    card = text[text.index("<b>") : text.index("</b>")]
    assert card == "<b>3.88 ms"


def test_figures_lie_where_they_belong():
    plot = stair_plot(StairFigure(layer="x", widths=(8, 16), median_ms=(1.0, 2.0), steps=(8,), chosen_width=16))
    first, last = plot.marks
    assert (first.kind, last.kind) == ("step", "last")
    assert first.x < last.x
    assert first.y > last.y  # Down is slower in no report: larger values are drawn higher.
    assert [tick.text for tick in Scale.around([0, 100], 0, 10).ticks()] == ["0", "50", "100"]


def test_one_candidate_is_enough_for_a_plot():
    assert len(Scale.around([5.0], 0, 10).ticks()) > 1
    assert len(Scale.around([0.0], 0, 10).ticks()) > 1


def test_sizes_are_written_with_their_unit():
    assert [bytes_text(n) for n in (12, 953_738, 3_840_000)] == ["12 B", "954 kB", "3.84 MB"]


@pytest.fixture
def profile(tmp_path):
    if not CHROMIUM:
        pytest.skip("there is no Chromium on this machine")
    return tmp_path / "profile"


def browse(profile: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    logged = ["--enable-logging=stderr", "--allow-file-access-from-files", "--virtual-time-budget=5000"]
    line = [*command, *logged, *options, page.as_uri()]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.parametrize(("scheme", "ink"), [("dark", "rgb(232, 234, 237)"), ("light", "rgb(27, 31, 36)")])
def test_a_browser_shows_it_on_a_phone_in_light_and_dark(tmp_path, profile, scheme, ink):
    """Plots have a size and stay within the screen, the page does not scroll sideways, the console stays empty."""
    literal = "`" + render_html(report("x" * 200)).replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${") + "`"
    (tmp_path / "probe.html").write_text(PROBE.format(width=PHONE, page=literal))
    colours = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    done = browse(profile, tmp_path / "probe.html", "--dump-dom", colours)
    found = re.search(r"scroll (\d+) plots (\d+) ink (.*) end</pre>", done.stdout)
    assert found, done.stdout[-2000:]
    assert int(found[1]) <= PHONE
    assert int(found[2]) == 3
    assert found[3] == ink
    assert "CONSOLE" not in done.stderr


def test_a_browser_takes_its_picture_from_disk_without_an_error(tmp_path, profile):
    """The picture stays in $PRUNEC_ARTEFACTS if that is set."""
    folder = Path(os.environ.get("PRUNEC_ARTEFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "report.html").write_text(render_html(report()), encoding="utf-8")
    picture = folder / "report.png"
    done = browse(profile, tmp_path / "report.html", f"--screenshot={picture}", "--window-size=1100,2400")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
    assert "CONSOLE" not in done.stderr
