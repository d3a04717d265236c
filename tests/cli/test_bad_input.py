"""Whatever is wrong is told in one line, with the exit code of its kind, and without a traceback."""

import numpy as np
import onnx
import pytest
from command import prunec
from oracle import graph

from toolchain.errors import ExitCode, ModelError, PrunecError
from toolchain.graph.load import load_model

NULL = ("--target", "null")
BUDGET = ("--budget", "60%")


def broken(folder, kind):
    """Write bad.onnx."""
    path, good = folder / "bad.onnx", (folder / "net.onnx").read_bytes()
    model = onnx.load(folder / "net.onnx")
    match kind:
        case "text":
            path.write_text("hello\n")
        case "truncated":
            path.write_bytes(good[: len(good) // 2])
        case "empty file":
            path.write_bytes(b"")
        case "zip":
            path.write_bytes(b"PK\x03\x04" + good)
        case "empty graph":
            del model.graph.node[:]
            onnx.save(model, path)
        case "no inputs":
            onnx.save(graph("net () => (float[5] y) <float[5] w> { y = Relu(w) }"), path)
        case "nothing prunable":
            onnx.save(graph("net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"), path)
        case "wrong channels":
            onnx.save(graph("net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,5,1,1] w> { y = Conv(x, w) }"), path)
        case "future opset":
            model.opset_import[0].version = 999
            onnx.save(model, path)
        case "not finite":
            model.graph.initializer[0].raw_data = np.full((32, 3, 3, 3), np.nan, np.float32).tobytes()
            onnx.save(model, path)
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
        ("empty graph", "prunec: bad.onnx: the graph has no nodes"),
        ("nothing prunable", "prunec: nothing in this model can be pruned (it has no weighted layers); `prunec inspect`"),
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
        ({"x": np.zeros((8, 3, 5, 8), np.float32)}, "data.npz, sample 0: input 'x' expects [1, 3, 8, 8], found [N, 3, 5"),
        ({"x": np.zeros((8, 3, 8, 8), np.int64)}, "data.npz, sample 0: input 'x' expects float32, found int64"),
    ],
    ids=["shape", "dtype"],
)
def test_samples_that_do_not_fit_are_2(folder, arrays, told):
    np.savez(folder / "data.npz", **arrays)
    done = prunec("compile", "net.onnx", *BUDGET, *NULL, "--data", "data.npz", "-o", "out", cwd=folder)
    assert told in done.complaint
    assert done.code == 2
    assert not (folder / "out").exists()


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
        ((*BUDGET, "--target", "abacus"), "there is no target 'abacus'; targets are auto, null, onnxruntime"),
        ((*BUDGET, "--strategy", "magic"), "there is no strategy 'magic'; strategies are "),
        ((*BUDGET, "--min-accuracy", "90"), "--min-accuracy without data cannot be checked; add --data"),
        ((*BUDGET, "--preset", "fold", "--strategy", "greedy"), "--strategy is for pass prune, which this pipeline does"),
        ((*BUDGET, "--passes", "prune", "--config", "p.toml"), "--passes and --config both name a pipeline; give one"),
        ((*BUDGET, *NULL, "-o", "/proc/out"), "-o /proc/out: cannot be written ("),
        ((*BUDGET, *NULL, "--dump-dir", "net.onnx/dump"), "--dump-dir net.onnx/dump: cannot be written (Not a directory)"),
    ],
)
def test_a_wrong_call_is_2(folder, options, told):
    done = prunec("compile", "net.onnx", *options, cwd=folder)
    assert done.complaint.startswith(f"prunec: {told}")
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")


@pytest.mark.parametrize("options", [("--seed", "-1"), ("--bogus",), ("--min-accuracy", "high")])
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
    assert done.complaint.startswith("prunec: target onnxruntime: the installed onnxruntime has no CUDAExecutionProvider;")
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
    """Flip bytes and cut: whatever comes out, it is a model or one of this project's errors."""
    rng = np.random.default_rng(0)
    good = np.frombuffer((folder / "net.onnx").read_bytes(), np.uint8)
    refused = 0
    for _ in range(1500):
        damaged = good.copy()
        # Structure lies around the weights, which are most of the file.
        places = rng.integers(0, 400, 2) * rng.choice([1, -1])
        damaged[places] = rng.integers(0, 256, 2)
        (folder / "damaged.onnx").write_bytes(damaged[: rng.choice([len(damaged), rng.integers(len(damaged))])].tobytes())
        try:
            load_model(folder / "damaged.onnx")
        except PrunecError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50
