import pytest
import tomli_w

from passes.compensate import Compensate
from passes.fold_batchnorm import FoldBatchnorm
from passes.fold_constants import FoldConstants
from passes.prune import Prune
from passes.rematch import Rematch
from toolchain.errors import UsageError
from toolchain.pipeline.parse import PRESETS, parse_passes, read_pipeline

CATALOGUE = {item.name(): item for item in (FoldConstants, FoldBatchnorm, Prune, Compensate, Rematch)}


def parse(text):
    return parse_passes(text, CATALOGUE)


def test_names_and_options_become_passes():
    assert parse("fold-batchnorm, prune(strategy=uniform, criterion=l2),rematch(largest_rescale=2)") == [
        FoldBatchnorm(),
        Prune(strategy="uniform", criterion="l2"),
        Rematch(largest_rescale=2.0),
    ]


@pytest.mark.parametrize("text", ["prune()", " prune ", "prune,", "prune ( strategy = joint )"])
def test_spaces_empty_parentheses_and_a_last_comma_do_not_matter(text):
    assert parse(text) == [Prune()]


def test_options_of_the_strategy_are_written_inside():
    (step,) = parse("prune(strategy=greedy,strategy_options=max_trials=3;step=0.2)")
    assert step.strategy_options == "max_trials=3;step=0.2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^--passes: no pass is named; passes are fold-constants, fold-batchnorm, prune, compensate, rematch$"),
        ("cast(fp16)", r"^there is no pass 'cast'; passes are fold-constants, "),
        ("polish", r"^there is no pass 'polish'; passes are fold-constants, "),
        ("Prune", r"^--passes: cannot read 'Prune'; write name,name\(option=value,...\),...$"),
        ("prune(", r"^--passes: cannot read 'prune\('"),
        ("prune)", r"^--passes: cannot read 'prune\)'"),
        ("prune(a=(b))", r"^--passes: cannot read 'prune\(a=\(b\)\)'"),
        ("prune rematch", r"^--passes: cannot read 'prune rematch'"),
        ("fold-batchnorm,,prune", r"^--passes: cannot read ',prune'"),
        ("prune(greedy)", r"^pass prune: 'greedy' is not an option; write option=value$"),
        ("prune(criterion=l2,criterion=l2)", r"^pass prune: option 'criterion' is given twice; give it once$"),
        (
            "prune(budget=3)",
            r"^pass prune has no option 'budget'; options are strategy, criterion, strategy_options, allow_inexact$",
        ),
        ("fold-batchnorm(x=1)", r"^pass fold-batchnorm has no option 'x'; it has no options$"),
        ("rematch(largest_rescale=much)", r"^pass rematch: largest_rescale=much; input should be a valid number"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_read_and_written_again(preset, tmp_path):
    passes = parse(PRESETS[preset])
    path = tmp_path / "pipeline.toml"
    path.write_text(tomli_w.dumps({"pass": [{"name": item.name(), **item.options()} for item in passes]}))
    assert read_pipeline(path, CATALOGUE) == passes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[pass]", r"pipeline.toml: not a pipeline file \(.*\); see pipeline.toml in any bundle$"),
        ("", r"pipeline.toml: no \[\[pass\]\] tables with a name; see pipeline.toml in any bundle$"),
        ("[[passes]]\nname = 'prune'", r"no \[\[pass\]\] tables with a name"),
        ("pass = []", r"no \[\[pass\]\] tables with a name"),
        ("pass = 'prune'", r"no \[\[pass\]\] tables with a name"),
        ("[[pass]]\nstrategy = 'greedy'", r"no \[\[pass\]\] tables with a name"),
        ("[[pass]]\nname = 'polish'", r"^there is no pass 'polish'"),
        ("[[pass]]\nname = 3", r"^there is no pass '3'"),
        ("[[pass]]\nname = 'prune'\ntrials = 3", r"^pass prune has no option 'trials'"),
        ("[[pass]]\nname = 'prune'\nstrategy = 3", r"^pass prune: strategy=3; input should be a valid string$"),
    ],
)
def test_a_file_that_is_no_pipeline_is_refused(content, message, tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_pipeline(path, CATALOGUE)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none.toml: not a pipeline file"):
        read_pipeline(tmp_path / "none.toml", CATALOGUE)
    (tmp_path / "model.onnx").write_bytes(b"\x08\xff\xfe")
    with pytest.raises(UsageError, match=r"model.onnx: not a pipeline file"):
        read_pipeline(tmp_path / "model.onnx", CATALOGUE)
