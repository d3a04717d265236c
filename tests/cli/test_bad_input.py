"""Whatever is wrong is told in one line, with the exit code of its kind, and without a traceback."""

import numpy as np
import onnx
import pytest
from command import prunec
from oracle import graph
from typer.testing import CliRunner

from toolchain.cli.main import app
from toolchain.errors import ExitCode, ModelError, PrunecError, UsageError
from toolchain.graph.load import load_model

NULL = ("--target", "null")
BUDGET = ("--budget", "60%")


def no_nodes(model):
    del model.graph.node[:]
    return model


def newer(model):
    model.opset_import[0].version = 999
    return model


def diverged(model):
    model.graph.initializer[0].raw_data = np.full((32, 3, 3, 3), np.nan, np.float32).tobytes()
    return model


def overfull(model):
    model.graph.initializer[0].raw_data += b"more"
    return model


BYTES = {
    "text": lambda _: b"hello\n",
    "truncated": lambda good: good[: len(good) // 2],
    "empty file": lambda _: b"",
    "zip": lambda good: b"PK\x03\x04" + good,
}
CHANGES = {"empty graph": no_nodes, "future opset": newer, "not finite": diverged, "weight too long": overfull}
GRAPHS = {
    "no inputs": "net () => (float[5] y) <float[5] w> { y = Relu(w) }",
    "nothing prunable": "net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }",
    "wrong channels": "net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,5,1,1] w> { y = Conv(x, w) }",
}


def broken(folder, kind):
    """Write bad.onnx."""
    path, good = folder / "bad.onnx", folder / "net.onnx"
    if kind in BYTES:
        path.write_bytes(BYTES[kind](good.read_bytes()))
    else:
        onnx.save(graph(GRAPHS[kind]) if kind in GRAPHS else CHANGES[kind](onnx.load(good)), path)
    return path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("text", "bad.onnx: not ONNX, or cut off in the middle; export or download it again"),
        ("truncated", "bad.onnx: not ONNX, or cut off in the middle; export or download it again"),
        ("empty file", "bad.onnx: the file is empty; export or download it again"),
        ("zip", "bad.onnx: not ONNX but a zip archive (a PyTorch .pt file is one); export the network to ONNX first"),
        ("empty graph", "bad.onnx: the graph has no nodes; check that this is the exported network"),
        ("no inputs", "bad.onnx: the graph has no inputs; check that this is the exported network"),
        ("future opset", "bad.onnx: opset 999 is newer than "),
        ("not finite", "bad.onnx: parameter 'stem_weight' (read by Conv"),
        ("weight too long", "its data does not fit its shape and type; export it again"),
    ],
)
def test_a_model_that_is_none_is_refused_when_it_is_read(folder, kind, told):
    with pytest.raises(ModelError) as caught:
        load_model(broken(folder, kind))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("truncated", "prunec: bad.onnx: not ONNX, or cut off in the middle"),
        (
            "nothing prunable",
            "prunec: nothing in this model can be pruned (it has no weighted layers); `prunec inspect`",
        ),
        ("wrong channels", "Conv"),
    ],
)
def test_a_bad_model_is_3(folder, kind, told):
    broken(folder, kind)
    done = prunec("compile", "bad.onnx", *BUDGET, *NULL, "-o", "out", cwd=folder)
    assert told in done.complaint
    assert (done.code, done.stdout) == (ExitCode.MODEL, "")
    assert not (folder / "out" / "model.onnx").exists()


def test_no_file_is_2(folder):
    done = prunec("compile", "none.onnx", *BUDGET, *NULL, cwd=folder)
    assert (done.code, done.complaint) == (2, "prunec: none.onnx: no such file; check the path of the model")
    assert not (folder / "build").exists()


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        (
            {"x": np.zeros((8, 3, 5, 8), np.float32)},
            "data.npz, sample 0: input 'x' expects [1, 3, 8, 8], found [N, 3, 5",
        ),
        ({"x": np.zeros((8, 3, 8, 8), np.int64)}, "data.npz, sample 0: input 'x' expects float32, found int64"),
    ],
    ids=["shape", "dtype"],
)
def test_samples_that_do_not_fit_are_2(folder, arrays, told):
    np.savez(folder / "data.npz", **arrays)
    done = prunec("compile", "net.onnx", *BUDGET, *NULL, "--data", "data.npz", "-o", "out", cwd=folder)
    assert told in done.complaint
    assert done.code == 2
    assert [path.name for path in (folder / "out").iterdir()] == ["report.json"]


def test_a_class_without_images_is_2(folder):
    for name in ("cat", "dog", "emu"):
        (folder / "images" / name).mkdir(parents=True)
    done = prunec("compile", "net.onnx", *BUDGET, *NULL, "--data", "images", "-o", "out", cwd=folder)
    assert "images" in done.complaint
    assert done.code == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--budget", "0%"), "--budget 0%: 0 % of the original latency is not a budget; write a share between 0% and"),
        (("--budget", "120%"), "--budget 120%: 120 % of the original latency is not a budget"),
        (("--budget", "fast"), "--budget fast: not a budget; write a share of the latency (60%) or a time (4.5ms)"),
        ((), "there is no budget; add --budget 60%, or choose --preset fold"),
        ((*BUDGET, "--target", "abacus"), "there is no target 'abacus'; targets are auto, "),
        ((*BUDGET, "--strategy", "magic"), "there is no strategy 'magic'; strategies are "),
        ((*BUDGET, "--criterion", "magic"), "there is no criterion 'magic'; criteria are "),
        ((*BUDGET, "--preset", "magic"), "there is no preset 'magic'; presets are default, fold"),
        ((*BUDGET, "--min-accuracy", "90"), "--min-accuracy without data cannot be checked; add --data"),
        (
            (*BUDGET, "--preset", "fold", "--strategy", "greedy"),
            "--strategy is for pass prune, which this pipeline does",
        ),
        ((*BUDGET, "--passes", "prune", "--config", "p.toml"), "--passes and --config both name a pipeline; give one"),
        ((*BUDGET, "--input-shapes", "x"), "--input-shapes: cannot read 'x'; write name:[8,3,224,224], quoted for"),
        (
            (*BUDGET, "--input-shapes", "x:[0,3,8,8]"),
            "--input-shapes: input 'x' has an axis of size 0; write 1 or more",
        ),
    ],
)
def test_a_wrong_call_is_refused_before_the_model_is_read(options, told):
    done = CliRunner().invoke(app, ["compile", "none.onnx", *options])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith(told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--budget", "120%"), "--budget 120%: 120 % of the original latency is not a budget"),
        ((*BUDGET, *NULL, "-o", "/proc/out"), "-o /proc/out: cannot be written ("),
        (
            (*BUDGET, *NULL, "--dump-dir", "net.onnx/dump"),
            "--dump-dir net.onnx/dump: cannot be written (Not a directory)",
        ),
    ],
)
def test_a_wrong_call_is_2(folder, options, told):
    done = prunec("compile", "net.onnx", *options, cwd=folder)
    assert done.complaint.startswith(f"prunec: {told}")
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")


@pytest.mark.parametrize("options", [("--seed", "-1"), ("--bogus",)])
def test_what_the_parser_refuses_is_2_too(folder, options):
    done = prunec("compile", "net.onnx", *BUDGET, *options, cwd=folder)
    assert (done.code, done.stdout) == (2, "")
    assert options[0] in done.stderr
    assert "prunec compile --help" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_target_that_is_not_installed_is_6(folder):
    cuda = ("--target", "onnxruntime", "--target-options", "provider=cuda")
    done = prunec("compile", "net.onnx", *BUDGET, *cuda, "-o", "out", cwd=folder)
    if "CUDAExecutionProvider; install" not in done.stderr:
        pytest.skip("CUDA is here")
    assert done.complaint.startswith(
        "prunec: target onnxruntime: the installed onnxruntime has no CUDAExecutionProvider;"
    )
    assert done.code == ExitCode.ENVIRONMENT


def test_names_in_a_model_cannot_command_the_terminal(folder):
    model = onnx.load(folder / "net.onnx")
    model.graph.initializer[0].name = model.graph.node[0].input[1] = "\x1b[2J[bold]\nweight"
    onnx.save(model, folder / "net.onnx")
    done = prunec("inspect", "net.onnx", cwd=folder)
    assert done.code == 0
    assert "\x1b" not in done.stdout
    assert "\\x1b[2J[bold]" in done.stdout


def test_a_damaged_file_is_refused_or_read_but_never_a_defect(folder):
    """Flip one bit of what is not a weight: whatever comes out, it is a model or one of this project's errors."""
    model, path = onnx.load(folder / "net.onnx"), folder / "damaged.onnx"
    good = model.SerializeToString()
    weights = [(good.find(tensor.raw_data), len(tensor.raw_data)) for tensor in model.graph.initializer]
    structure = [place for place in range(len(good)) if not any(0 <= place - at < size for at, size in weights)]
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.choice(structure, 400):
        damaged = bytearray(good)
        damaged[place] ^= 1 << rng.integers(0, 8)
        path.write_bytes(damaged)
        try:
            load_model(path)
        except PrunecError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 200 < refused < 400


def test_a_file_cut_off_anywhere_is_refused(folder):
    good = (folder / "net.onnx").read_bytes()
    for size in range(1, len(good), 997):
        (folder / "cut.onnx").write_bytes(good[:size])
        with pytest.raises(ModelError):
            load_model(folder / "cut.onnx")
