"""COCO's average precision for YOLOX: how a user brings a metric (`--metric tests/bench/coco.py:average_precision`).

Boxes are in pixels of the letterboxed image. The network's output is (N, 3549, 85): for each cell of three grids the
centre and size relative to it, how likely there is an object, and a score for each class.
Needs `pip install pycocotools`.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

Array = npt.NDArray[Any]

SIZE = 416
STRIDES = (8, 16, 32)
BORDER = 114
MOST_OBJECTS = 100
LEAST_SCORE = 0.001
OVERLAP = 0.65
CLASSES = 80


def average_precision(outputs: list[dict[str, Array]], labels: list[Array]) -> float:
    """Return AP at IoU 0.50 to 0.95 in percent, of all sizes and at most 100 detections per image.

    `labels` are (N, 100, 5): class, left, top, right, bottom; a class of -1 is no object.
    """
    predicted = np.concatenate([next(iter(batch.values())) for batch in outputs])
    truth = _truth(np.concatenate(labels))
    found = [row for number, rows in enumerate(predicted) for row in _detections(rows, number + 1)]
    if not found:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        judged = COCOeval(truth, truth.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return 100 * float(judged.stats[0])


def letterboxed(archive: Path) -> tuple[Array, Array]:
    """Return all images, uint8 (N, 3, 416, 416) in BGR on a grey border, and their objects."""
    images, objects = [], []
    with zipfile.ZipFile(archive) as files:
        names = sorted(name for name in files.namelist() if name.endswith(".jpg"))
        for name in names:
            with files.open(name) as file:
                image = Image.open(file).convert("RGB")
            scale = min(SIZE / image.width, SIZE / image.height)
            size = (int(image.width * scale), int(image.height * scale))
            canvas = Image.new("RGB", (SIZE, SIZE), (BORDER, BORDER, BORDER))
            canvas.paste(image.resize(size, Image.Resampling.BILINEAR))
            images.append(np.asarray(canvas)[:, :, ::-1].transpose(2, 0, 1))
            label = name.replace("images/", "labels/").replace(".jpg", ".txt")
            text = files.read(label).decode() if label in files.namelist() else ""
            objects.append(_objects(text, image.width * scale, image.height * scale))
    return np.ascontiguousarray(images), np.stack(objects)


def _objects(text: str, width: float, height: float) -> Array:
    found = np.full((MOST_OBJECTS, 5), -1, np.float32)
    for number, line in enumerate(text.splitlines()[:MOST_OBJECTS]):
        kind, x, y, w, h = map(float, line.split())
        found[number] = (kind, (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    return found


def _truth(objects: Array) -> COCO:
    images, rows = np.nonzero(objects[:, :, 0] >= 0)
    boxes = [
        {
            "id": number + 1,
            "image_id": int(image) + 1,
            "category_id": int(objects[image, row, 0]),
            "bbox": _as_xywh(objects[image, row, 1:]),
            "area": float(np.prod(objects[image, row, 3:] - objects[image, row, 1:3])),
            "iscrowd": 0,
        }
        for number, (image, row) in enumerate(zip(images, rows, strict=True))
    ]
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number + 1} for number in range(len(objects))],
        "annotations": boxes,
        "categories": [{"id": kind} for kind in range(CLASSES)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def _detections(rows: Array, image: int) -> list[dict[str, Any]]:
    """Decode one image's (3549, 85) rows, and leave the best of those that overlap."""
    grid, stride = _cells()
    centre, size = (rows[:, :2] + grid) * stride, np.exp(rows[:, 2:4]) * stride
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    scores = rows[:, 4:5] * rows[:, 5:]
    cells, kinds = np.nonzero(scores > LEAST_SCORE)
    chosen = scores[cells, kinds]
    kept = _without_overlap(boxes[cells], chosen, kinds)
    return [
        {
            "image_id": image,
            "category_id": int(kinds[item]),
            "bbox": _as_xywh(boxes[cells[item]]),
            "score": float(chosen[item]),
        }
        for item in kept[:MOST_OBJECTS]
    ]


def _without_overlap(boxes: Array, scores: Array, kinds: Array) -> list[int]:
    """Return the boxes that no better one of their class overlaps, best first."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    apart = boxes + 2 * SIZE * kinds[:, None]  # classes do not meet
    areas = np.prod(apart[:, 2:] - apart[:, :2], axis=1)
    while len(order) and len(kept) < MOST_OBJECTS:
        best, others = order[0], order[1:]
        kept.append(int(best))
        corner = np.minimum(apart[best, 2:], apart[others, 2:]) - np.maximum(apart[best, :2], apart[others, :2])
        shared = np.prod(np.maximum(corner, 0), axis=1)
        order = others[shared <= OVERLAP * (areas[best] + areas[others] - shared)]
    return kept


def _cells() -> tuple[Array, Array]:
    """Return each cell's column and row in its grid (3549, 2), and its stride (3549, 1)."""
    grids = [np.stack(np.meshgrid(*2 * [np.arange(SIZE // stride)]), axis=-1).reshape(-1, 2) for stride in STRIDES]
    strides = [np.full((len(grid), 1), stride) for grid, stride in zip(grids, STRIDES, strict=True)]
    return np.concatenate(grids).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _as_xywh(corners: Array) -> list[float]:
    left, top, right, bottom = corners.tolist()
    return [left, top, right - left, bottom - top]
