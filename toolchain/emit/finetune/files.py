"""The files for training: the network and its original as PyTorch, the script, and what the script is told."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx
from safetensors.numpy import save

from toolchain.data.accuracy import Accuracy
from toolchain.data.preprocess import Preprocess
from toolchain.emit.finetune.recipe import Recipe
from toolchain.emit.torch_module.emitter import Emitter
from toolchain.emit.torch_module.module import TorchModule, write_torch_module
from toolchain.errors import ModelError
from toolchain.graph.oracle import Feeds
from toolchain.pipeline.contract import Reporter

SOURCE, WEIGHTS = "model.py", "weights.safetensors"
TEACHER_SOURCE, TEACHER_WEIGHTS = "teacher.py", "teacher.safetensors"
RECIPE = "finetune.json"
SCRIPTS = (
    *("finetune.py", "finetune_data.py", "finetune_job.py", "finetune_loss.py", "finetune_network.py"),
    *("finetune_rate.py", "finetune_state.py"),
)
SEEN_SAMPLES = 64
TRAINING_FILES = (SOURCE, WEIGHTS, TEACHER_SOURCE, TEACHER_WEIGHTS, RECIPE, *SCRIPTS)


def write_training_files(
    folder: Path,
    model: onnx.ModelProto,
    original: onnx.ModelProto | None,
    emitters: Mapping[str, Emitter],
    *,
    batchnorm: bool = True,
    preprocess: Preprocess | None = None,
    seen: Feeds | None = None,
) -> TorchModule:
    """Write everything the script needs beside `model.onnx`, which is a normalised model; return its module.

    1. `model.py`, `weights.safetensors`: the model, BatchNorm put back unless `batchnorm` is false.
    2. `teacher.py`, `teacher.safetensors`: the normalised original, where there is one to imitate.
    3. `finetune.py` with the modules it is made of, and `finetune.json`.

    Raises ModelError, before anything is written, where either cannot be written in PyTorch.
    """
    written = write_torch_module(model, emitters, batchnorm=batchnorm)
    teacher = original and write_torch_module(original, emitters, batchnorm=False, weights_name=TEACHER_WEIGHTS)
    recipe = Recipe.of(model, written.sources, teacher=teacher is not None, preprocess=preprocess, seen=seen)
    _write_module(written, folder / SOURCE, folder / WEIGHTS)
    if teacher:
        _write_module(teacher, folder / TEACHER_SOURCE, folder / TEACHER_WEIGHTS)
    (folder / RECIPE).write_text(recipe.json(), encoding="utf-8")
    for name in SCRIPTS:
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    return written


def add_training_files(
    folder: Path,
    model: onnx.ModelProto,
    original: onnx.ModelProto,
    emitters: Mapping[str, Emitter],
    accuracy: Accuracy | None,
    reporter: Reporter,
) -> None:
    """Add the files for training to a bundle; where a network cannot be written in PyTorch, say why instead."""
    preprocess, seen = None, None
    if accuracy is not None:
        data, indices = accuracy.calibrating.data, accuracy.calibrating.indices
        preprocess, seen = data.preprocess, data.batch(indices[:SEEN_SAMPLES]).feeds
    try:
        write_training_files(folder, model, original, emitters, preprocess=preprocess, seen=seen)
    except ModelError as error:
        reporter.warn(f"the bundle has no {SOURCE} and no script to train it: {error}")


def _write_module(written: TorchModule, source: Path, weights: Path) -> None:
    source.write_text(written.source, encoding="utf-8")
    weights.write_bytes(save(dict(written.weights)))  # save_file would make the file its owner's alone
