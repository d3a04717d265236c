"""What can be said of TensorRT where it is not installed; with a GPU, tests/gpu does the rest."""

import importlib.util

import pytest

from toolchain.errors import EnvironmentMissing, UsageError
from toolchain.targets.registry import create
from toolchain.targets.tensorrt import Tensorrt


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="tensorrt is installed")
def test_a_missing_library_is_named_with_the_way_to_install_it() -> None:
    for building in (False, True):
        with pytest.raises(EnvironmentMissing) as caught:
            create("tensorrt", for_building=building)
        assert str(caught.value) == (
            "target tensorrt: the package tensorrt is not installed; pip install 'prunec[tensorrt]'"
        )


def test_options_are_checked_before_the_library_is_needed() -> None:
    with pytest.raises(UsageError, match="target tensorrt: optimization_level=9"):
        create("tensorrt", "optimization_level=9")


def test_the_identity_names_precision_and_options() -> None:
    identity = Tensorrt(fp16=True).identity()
    assert identity.precision == "float16 allowed"
    assert ("fp16", "True") in identity.options
