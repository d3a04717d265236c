"""Import torchvision and timm beside a CPU build of torch, for which torchvision's compiled operators do not load.

Their names must exist before torchvision is imported (timm imports it); no network here runs them.
"""

import torch

_operators = torch.library.Library("torchvision", "DEF")
_operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision  # noqa: E402
import torchvision.extension  # noqa: E402

torchvision.extension._has_ops = lambda: True

import timm  # noqa: E402

__all__ = ["timm", "torchvision"]
