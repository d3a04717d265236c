"""Build the image and run it without a Docker engine, and without a registry: buildah, podman, runc, all as root.

The base image is a stand-in: Debian with its own Python 3.11, which is what `python:3.11-slim-bookworm` comes down to.
Base and layers are kept in a folder of the system's temporary one, so that a second build takes seconds.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ("buildah", "podman", "runc", "mmdebstrap")
BASE = "localhost/base-standin:python-3.11"
IMAGE = "localhost/prunec-under-test"
CERTIFICATES = "/etc/pip-certificates.pem"
DEBIAN = "python3,python3-venv,ca-certificates,netbase,tzdata"


def missing() -> str:
    """Say why no image can be built here; empty where it can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    return "" if os.geteuid() == 0 else "needs root"


@dataclass(frozen=True)
class Workshop:
    """A folder with a store of images, and the two programs that work on it."""

    folder: Path

    @property
    def store(self) -> list[str]:
        """Options that keep images and running containers in the folder."""
        return ["--storage-driver", "overlay", "--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run"]

    def build(self, *options: str) -> str:
        """Build the Dockerfile and return the image's name."""
        self._base()
        config = self.folder / "pip.conf"
        config.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in _pip_config().items()))
        mounts = {str(config): "/etc/pip.conf", **{path: path for path in _local_indexes()}}
        if certificates := _pip_setting("cert"):
            mounts[certificates] = CERTIFICATES
        self._call(
            *("buildah", *self.store, "bud", "--isolation", "chroot", "--network", "host", "--pull-never", "--layers"),
            *("--force-rm", "--format", "docker", "--build-arg", f"BASE_IMAGE={BASE}", "--tag", IMAGE),
            *(f"--volume={here}:{there}:ro" for here, there in mounts.items()),
            *options,
            str(ROOT),
        )
        return IMAGE

    def run(self, arguments: Sequence[str], *options: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run the image: no network, no capability, nothing writable but volumes."""
        limits = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096")
        bounds = ("--network", "none", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
        command = ["podman", "--runtime", "runc", *self.store, "run", "--rm", "--no-healthcheck", *bounds, *limits]
        return subprocess.run(
            [*command, *options, IMAGE, *arguments], capture_output=True, text=True, timeout=timeout, check=False
        )

    def inspect(self, template: str) -> str:
        """Return what the image says of itself."""
        return self._call("podman", *self.store, "image", "inspect", "--format", template, IMAGE).strip()

    def _base(self) -> None:
        archive = self.folder / "base.tar"
        if not archive.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            link = 'ln -s ../../bin/python3 "$1/usr/local/bin/python"'
            made = archive.with_suffix(".part.tar")
            self._call(
                *("mmdebstrap", "--variant=minbase", f"--include={DEBIAN}", f"--customize-hook={link}"),
                *("bookworm", str(made)),
            )
            made.rename(archive)
        if subprocess.run(["podman", *self.store, "image", "exists", BASE], check=False).returncode:
            self._call("podman", *self.store, "import", str(archive), BASE)

    def _call(self, *command: str) -> str:
        scratch = self.folder / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(scratch)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


def workshop() -> Workshop:
    """Return the one whose layers are kept between runs."""
    return Workshop(Path(tempfile.gettempdir(), "prunec-image"))


def _settings() -> Iterator[tuple[str, str]]:
    """Yield how pip is set up on this machine: the build must find its packages the same way."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        yield key.rpartition(".")[2], str(ast.literal_eval(value))


def _pip_setting(name: str) -> str:
    return next((value for key, value in _settings() if key == name), "")


def _pip_config() -> dict[str, str]:
    kept = {key: " ".join(value.split()) for key, value in _settings()}
    return {**kept, "cert": CERTIFICATES} if "cert" in kept else kept


def _local_indexes() -> set[str]:
    """Return the folders of this machine in which pip looks for packages; an index links out of its `simple`."""
    values = " ".join(value for key, value in _settings() if key != "cert")
    paths = re.findall(r"(?:file://|(?<!\S))(/\S+)", values)
    return {path.removesuffix("/simple") for path in paths if Path(path).is_dir()}
