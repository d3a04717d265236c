from pathlib import Path

import pytest

from toolchain import targets
from toolchain.errors import EnvironmentMissing, UsageError
from toolchain.targets.null import Null
from toolchain.targets.onnxruntime import Onnxruntime
from toolchain.targets.registry import create, names


def test_targets_are_found_by_their_files():
    assert {"null", "onnxruntime"} <= set(names())
    for name in names():
        file = Path(targets.__path__[0], f"{name.replace('-', '_')}.py")
        assert file.is_file()
        assert f'"{name}"' in file.read_text()


def test_auto_takes_a_target_that_measures():
    assert create().measured


def test_options_are_converted_to_their_types():
    assert create("onnxruntime", "threads=2, spinning=true") == Onnxruntime(threads=2, spinning=True)
    assert create("null", "multiprocessors=16") == Null(multiprocessors=16)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cuda", "", r"^there is no target 'cuda'; targets are auto, null, onnxruntime"),
        (
            "onnxruntime",
            "thread=1",
            r"^target onnxruntime has no option 'thread'; options are threads, spinning, provider$",
        ),
        ("onnxruntime", "threads", r"^target onnxruntime: 'threads' is not an option; write option=value$"),
        (
            "onnxruntime",
            "threads=many",
            r"^target onnxruntime: threads=many; input should be a valid integer",
        ),
        (
            "onnxruntime",
            "threads=-1",
            r"^target onnxruntime: threads=-1; input should be greater than or equal to 0$",
        ),
        (
            "onnxruntime",
            "provider=tpu",
            r"^target onnxruntime: provider=tpu; input should be 'cpu' or 'cuda'$",
        ),
        ("onnxruntime", "threads=1,threads=2", r"option 'threads' is given twice"),
        ("null", "tile_rows=0", r"^target null: tile_rows=0; input should be greater than or equal to 1$"),
    ],
)
def test_wrong_names_and_options_say_what_exists(name, options, message):
    with pytest.raises(UsageError, match=message):
        create(name, options)


def test_a_provider_that_is_not_installed_is_an_environment_error():
    if Onnxruntime(provider="cuda").availability().ok:
        pytest.skip("this wheel has CUDA")
    with pytest.raises(EnvironmentMissing, match=r"has no CUDAExecutionProvider; install onnxruntime-gpu"):
        create("onnxruntime", "provider=cuda")
