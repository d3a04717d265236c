"""Scores that took minutes, kept on disk by the content of everything they were made from."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx

from toolchain import __version__
from toolchain.criterion import Feeds, Scores
from toolchain.graph.hashing import model_sha256
from toolchain.measure.cache import cache_folder


def score_key(model: onnx.ModelProto, samples: Iterable[Feeds], options: str) -> str:
    """Return the hash of a model, all samples, and the criterion with its options."""
    digest = hashlib.sha256(f"{__version__} {options} {model_sha256(model)}".encode())
    for feeds in samples:
        for name, value in sorted(feeds.items()):
            digest.update(f"{name} {value.dtype} {value.shape}".encode())
            digest.update(value.tobytes())
    return digest.hexdigest()


def read_scores(key: str, widths: Mapping[str, int]) -> Scores | None:
    """Return kept scores; None where there are none, or what is there is not whole or not of these groups."""
    path = _path(key)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            names, values = file["names"].tolist(), file["values"].astype(np.float64)
            counts = file["counts"].astype(np.int64)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if dict(zip(names, counts.tolist(), strict=False)) != dict(widths) or counts.sum() != len(values):
        return None
    return dict(zip(names, np.split(values, np.cumsum(counts)[:-1]), strict=True))


def keep_scores(key: str, scores: Scores) -> None:
    """Write scores whole or not at all; a cache that cannot be written is none."""
    path = _path(key)
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
            np.savez(
                file,
                names=np.array(list(scores), dtype=np.str_),
                counts=np.array([len(item) for item in scores.values()], dtype=np.int64),
                values=np.concatenate(list(scores.values())) if scores else np.zeros(0),
            )
        Path(file.name).replace(path)


def _path(key: str) -> Path:
    return cache_folder() / "scores" / f"{key}.npz"
