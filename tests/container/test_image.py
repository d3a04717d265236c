"""The image, built and run: by any user, on a read-only root, without a network."""

import hashlib
import shutil

import pytest
from image import ROOT, missing, workshop

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

SOMEBODY = ("--user", "12345:12345")
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def images():
    made = workshop()
    made.build()
    return made


@pytest.fixture
def folder(tmp_path):
    """A folder that everybody may write to, with the digits model and its data."""
    for name in ("digits_resnet.onnx", "digits.npz"):
        shutil.copy(ROOT / "models" / name, tmp_path)
    (tmp_path / "broken.onnx").write_bytes((tmp_path / "digits_resnet.onnx").read_bytes()[:5000])
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_it_says_how_it_is_used(images, arguments):
    done = images.run(arguments, *SOMEBODY)
    assert done.returncode == 0, done.stderr
    assert "Usage: prunec [OPTIONS] COMMAND" in done.stdout


def test_a_model_is_compiled_by_anybody(images, folder):
    also = ("--also-build", "onnxruntime", "--also-build", "tensorrt-rtx:compute_capabilities=8.9")
    arguments = ("digits_resnet.onnx", "--budget", "60%", "--data", "digits.npz", "--target", "null", *also)
    done = images.run((*arguments, "-o", "build"), *SOMEBODY, "--volume", f"{folder}:/work")
    assert done.returncode == 0, done.stderr
    assert "budget met" in done.stdout + done.stderr
    assert (folder / "build" / "model.onnx").stat().st_uid == 12345
    for line in (folder / "build" / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split(maxsplit=1)
        assert hashlib.sha256((folder / "build" / name).read_bytes()).hexdigest() == digest


def test_another_command_is_run_as_such(images, folder):
    done = images.run(("inspect", "digits_resnet.onnx"), "--volume", f"{folder}:/work:ro")
    assert done.returncode == 0, done.stderr
    assert "channels prunable" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("none.onnx", "--budget", "60%"), 2, "none.onnx: no such file"),
        (("broken.onnx", "--budget", "60%"), 3, "broken.onnx: not ONNX, or cut off in the middle"),
        (("digits_resnet.onnx", "--budget", "60%", "--target", "null", "-o", "/out"), 2, "-o /out: cannot be written"),
    ],
)
def test_exit_codes_come_through(images, folder, arguments, code, told):
    done = images.run(arguments, *SOMEBODY, "--volume", f"{folder}:/work")
    assert told in done.stderr
    assert done.returncode == code


def test_it_carries_no_cache_and_no_root(images):
    assert images.inspect("{{.Config.User}}") == "1000"
    assert "ORT_DISABLE_TELEMETRY=1" in images.inspect("{{.Config.Env}}")
    assert images.inspect('{{index .Config.Labels "org.opencontainers.image.licenses"}}') == "Apache-2.0"
    assert "prunec" in images.inspect("{{.HealthCheck.Test}}")
    found = images.run(("-c", "du -sk /root /tmp /var/cache | cut -f1"), "--entrypoint", "/bin/sh", "--user", "0")
    assert all(int(size) < 4096 for size in found.stdout.split()), found.stdout
    size_bytes = int(images.inspect("{{.Size}}"))
    print(f"image: {size_bytes / MEBIBYTE:.0f} MiB")
    assert size_bytes < 2300 * MEBIBYTE


def test_the_tests_run_in_it(images):
    images.build("--target", "test", "--build-arg", "TESTS=tests/graph tests/cli/test_inspect.py")
