"""Networks for benchmarks: trained ones, whose data is read where it lies, and random ones, which only show a cost."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from toolchain.data.preprocess import Preprocess
from toolchain.targets.onnxruntime import ReferenceSession

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PRUNEC_DATA", ROOT.parent / "shared" / "data"))
CIFAR = "scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"
CIFAR_TEST = DATA / "cifar10" / "cifar10_test_a.npz"
CALIBRATION_IMAGES = 1024
TRAINING_IMAGES = 10_000
"""How many images of a training split fine-tuning gets."""


@dataclass(frozen=True)
class Trained:
    """A network, and the options that name the samples that judge and calibrate, if it has any."""

    name: str
    model: Path
    options: tuple[str, ...]
    training: Path | None = None
    """Samples for fine-tuning, none of them among those that judge."""


@dataclass(frozen=True)
class Compiled:
    """One compile of a network, and what its report says of the last pass that stayed."""

    network: str
    budget: str
    exit_code: int
    ratio: float
    ratio_low: float
    ratio_high: float
    accuracy_before: float | None
    """None without samples, as the next."""
    accuracy_after: float | None
    minutes: float
    device: str
    runtime: str
    date: str

    @property
    def ratio_text(self) -> str:
        """The ratio with its interval."""
        return f"{100 * self.ratio:.1f} % [{100 * self.ratio_low:.1f}, {100 * self.ratio_high:.1f}]"

    @property
    def accuracy_text(self) -> str:
        """The accuracy before and after."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return "-"
        return f"{self.accuracy_before:.2f} -> {self.accuracy_after:.2f} %"


def compiled(network: Trained, budget: str, bundle: Path, *options: str) -> tuple[Compiled, Any] | None:
    """Compile anew, and return what came of it and the report; None where there is no report: the tool says why."""
    shutil.rmtree(bundle, ignore_errors=True)
    started = time.monotonic()
    asked = ("--budget", budget, *options, *network.options, "-o", str(bundle))
    code, report = prunec("compile", network.model, *asked)
    minutes = (time.monotonic() - started) / 60
    if report is None:
        return None
    kept = [item for item in report["passes"] if item["status"] != "rolled back"]
    first, last = kept[0], kept[-1]
    made = Compiled(
        network=network.name,
        budget=budget,
        exit_code=code,
        ratio=last["latency"]["ratio"],
        ratio_low=last["latency"]["ratio_low"],
        ratio_high=last["latency"]["ratio_high"],
        accuracy_before=_value(first["accuracy"]),
        accuracy_after=_value(last["accuracy"]),
        minutes=minutes,
        device=report["target"]["device"],
        runtime=report["target"]["runtime"],
        date=datetime.now(UTC).date().isoformat(),
    )
    return made, report


def _value(accuracy: Any) -> float | None:
    return None if accuracy is None else float(accuracy["value"])


def trained(names: list[str], folder: Path) -> list[Trained]:
    """Prepare networks by name; one whose files are absent is left out, and said so."""
    found = []
    for name in names:
        try:
            found.append(_PREPARE[name](name, folder))
        except FileNotFoundError as error:
            print(f"skipped: {name}: {error.filename} is absent", file=sys.stderr)
    return found


@contextmanager
def prepared(folder: Path | None) -> Iterator[Path]:
    """Give the folder of prepared data: the one that was asked for, which stays, or one for this run."""
    if folder is None:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def prunec(*arguments: str | Path) -> tuple[int, Any]:
    """Run a command with --json; return its exit code and what it says (None where it failed)."""
    command = [sys.executable, "-m", "toolchain.cli.main", *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None


def finetuned(network: Trained, bundle: Path, epochs: int, *options: str) -> float | None:
    """Train a copy of a bundle by its own script; return the accuracy then, None where that failed."""
    if network.training is None:
        return None
    script = [sys.executable, "finetune.py", "--data", str(network.training), "--epochs", str(epochs), *options]
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(bundle, Path(folder, "bundle"))
        if subprocess.run(script, cwd=copy, check=False, capture_output=True).returncode:
            return None
        judged: tuple[str | Path, ...] = ("compile", copy / "model.finetuned.onnx", "--preset", "fold", "--dry-run")
        _, report = prunec(*judged, *network.options)
    return report["passes"][0]["accuracy"]["value"] if report else None


def cifar_images(archive: Path, chosen: slice = slice(None)) -> tuple[Any, Any]:
    """Return images of CIFAR-10 as its networks take them, and their labels."""
    with np.load(archive) as data:
        images, labels = data["x"][chosen], data["y"][chosen]
    preprocess = replace(Preprocess.parse(CIFAR), layout="nchw")
    return np.stack([preprocess.apply(image.transpose(1, 2, 0), str(archive)) for image in images]), labels


def scores_of(model: Path, images: Any, batch: int) -> list[Any]:
    """Run a network on images in batches, and return its scores of each."""
    loaded = onnx.load(model)
    fed, scores = loaded.graph.input[0].name, loaded.graph.output[0].name
    session = ReferenceSession(loaded, optimise=True)
    return [session.run({fed: images[start : start + batch]})[scores] for start in range(0, len(images), batch)]


def _digits(name: str, _: Path) -> Trained:
    return Trained(name, ROOT / "models" / f"{name}.onnx", ("--data", str(ROOT / "models" / "digits.npz")))


def _cifar(name: str, folder: Path) -> Trained:
    model = _existing(DATA / "cifar10_models" / f"{name}_cifar10.onnx")
    calibration, training = _cifar_training_images(folder)
    judging = ("--data", str(CIFAR_TEST), "--preprocess", CIFAR)
    return Trained(name, model, (*judging, "--calibration-data", str(calibration)), training)


def _cifar_training_images(folder: Path) -> tuple[Path, Path]:
    """Unpack parts of the training split: nothing of the test split calibrates or trains."""
    calibration, training = folder / "cifar10_calibration.npz", folder / "cifar10_training.npz"
    if not training.exists():
        unpack_cifar({calibration: CALIBRATION_IMAGES, training: TRAINING_IMAGES})
    return calibration, training


def unpack_cifar(counts: Mapping[Path, int]) -> None:
    """Write archives of so many images of the training split, each the first ones in one random order."""
    spec = spec_from_file_location("medxz", _existing(DATA / "medxz.py"))
    assert spec and spec.loader
    medxz = module_from_spec(spec)
    spec.loader.exec_module(medxz)
    arrays = medxz.unpack(str(_existing(DATA / "cifar10" / "cifar10_train.med.xz")))
    order = np.random.default_rng(0).permutation(len(arrays["x"]))
    for path, count in counts.items():
        np.savez(path, x=arrays["x"][order[:count]], y=arrays["y"][order[:count]].astype(np.int64))


def _imagenet(name: str, folder: Path) -> Trained:
    """Unpack a MobileNet and the images: classes are shifted by one, since its class 0 is the background."""
    packed, size = {
        "mobilenet_v1_0.5_160": ("mobilenet_v1_0.5_160_quant_dequant_fp32", 160),
        "mobilenet_v2_1.0_224": ("mobilenet_v2_1.0_224_quant_dequant_fp32", 224),
    }[name]
    model = folder / f"{name}.onnx"
    if not model.exists():
        model.write_bytes(lzma.decompress(_existing(DATA / "imagenet_models" / f"{packed}.onnx.xz").read_bytes()))
    judging, calibration = _imagenet_images(folder, size)
    return Trained(name, model, ("--data", str(judging), "--calibration-data", str(calibration)))


def _imagenet_images(folder: Path, size: int) -> tuple[Path, Path]:
    """Write 450 images that judge and 200 that calibrate, prepared for a MobileNet: x / 127.5 - 1."""
    from PIL import Image

    judging, calibration = folder / f"imagenet_judging_{size}.npz", folder / f"imagenet_calibration_{size}.npz"
    if calibration.exists():
        return judging, calibration
    with zipfile.ZipFile(_existing(DATA / "imagenet" / "imagenet_val650a_227.zip")) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        rows = [line.split(",") for line in archive.read(names["labels.csv"]).decode().splitlines()]
        rows = [row for row in rows if row[1].strip().isdigit()]
        images = []
        for row in rows:
            with archive.open(names[Path(row[0]).name]) as file:
                image = Image.open(file).convert("RGB")
            side = (image.width - size) // 2
            image = image.crop((side, side, side + size, side + size)) if size > 200 else image.resize((size, size))
            images.append(np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1)
    x, y = np.stack(images), np.array([int(row[1]) + 1 for row in rows])
    order = np.random.default_rng(0).permutation(len(x))
    np.savez(judging, x=x[order[200:]], y=y[order[200:]])
    np.savez(calibration, x=x[order[:200]], y=y[order[:200]])
    return judging, calibration


def _coco(name: str, folder: Path) -> Trained:
    """Prepare a detector and 128 images, one half of which judges by COCO's average precision."""
    from coco import letterboxed

    model = _existing(DATA / "detection_models" / f"{name}.onnx")
    judging, calibration = folder / "coco_judging.npz", folder / "coco_calibration.npz"
    if not calibration.exists():
        x, y = letterboxed(_existing(DATA / "coco128" / "coco128_train2017.zip"))
        order = np.random.default_rng(0).permutation(len(x))
        for path, chosen in ((judging, order[::2]), (calibration, order[1::2])):
            np.savez(path, x=x[chosen], y=y[chosen])
    metric = f"{Path(__file__).with_name('coco.py')}:average_precision"
    data = ("--data", str(judging), "--calibration-data", str(calibration), "--preprocess", "scale=1")
    return Trained(name, model, (*data, "--metric", metric))


def _random(name: str, folder: Path) -> Trained:
    """Export a network with random weights: what it costs is all that it shows."""
    import torch

    from models.export import export
    from models.registry import networks

    network, model = networks()[name], folder / f"{name}.onnx"
    if not model.exists():
        torch.manual_seed(0)
        export(network.build(), torch.zeros(1, *network.input_shape), model, outputs=network.outputs)
    return Trained(name, model, ())


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(2, "absent", str(path))
    return path


_PREPARE = {
    "digits_resnet": _digits,
    "resnet20": _cifar,
    "resnet56": _cifar,
    "yolox_nano": _coco,
    "mobilenet_v1_0.5_160": _imagenet,
    "mobilenet_v2_1.0_224": _imagenet,
    **dict.fromkeys(("mobilenet_v2", "resnet50", "vgg16_bn", "yolov3"), _random),
}
