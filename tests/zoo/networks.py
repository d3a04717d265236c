"""The zoo: architectures of torchvision and timm with random weights, small inputs and calibrated statistics.

Nothing is downloaded. Parameters that an architecture starts at one constant (zero biases, unit scales, tiny layer
scales) are moved off it, and BatchNorm statistics are taken from random data: otherwise deep outputs collapse, and
a check of numbers would check nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from zoo.libraries import timm, torchvision

IMAGE = (3, 64, 64)
LARGE = (3, 128, 128)
CLIP = (3, 8, 32, 32)
CLASSES = 10
CALIBRATION_BATCH = 4

SILENT = 0.01
"""The least variance of a channel, relative to its layer's mean: one that is silent on the calibration data would be
amplified a hundredfold by the BatchNorm of every block it passes, and drown what all others do."""


@dataclass(frozen=True)
class Network:
    """One architecture and the input it gets here."""

    name: str
    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...] = IMAGE

    def build(self) -> nn.Module:
        """Make the network in evaluation mode; the same weights every time."""
        torch.manual_seed(0)
        module = self.make().eval()
        _move_off_constants(module)
        _calibrate(module, self.example(CALIBRATION_BATCH))
        return module

    def example(self, batch: int = 2) -> Tensor:
        """Make a seeded random input."""
        return torch.randn(batch, *self.input_shape, generator=torch.Generator().manual_seed(1))


class DetectorWithoutAnchors(nn.Module):
    """Backbone and head of a torchvision detector; what follows them is no network."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.head(list(self.backbone(x).values())).values())


class Segmentation(nn.Module):
    """A torchvision segmentation network without its dictionary."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)["out"]


class UNet(nn.Module):
    """A timm encoder, and a decoder that upsamples, concatenates the skip connection and convolves."""

    def __init__(self, encoder: str, *, transposed: bool) -> None:
        super().__init__()
        self.encoder = timm.create_model(encoder, features_only=True, pretrained=False)
        widths = self.encoder.feature_info.channels()[::-1]
        self.ups = nn.ModuleList(_upsample(a, b, transposed) for a, b in pairwise(widths))
        self.merges = nn.ModuleList(_merge(2 * b if transposed else a + b, b) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[-1], CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        *skips, y = self.encoder(x)
        for up, merge, skip in zip(self.ups, self.merges, skips[::-1], strict=True):
            y = merge(torch.cat([up(y), skip], 1))
        return self.head(y)


def _upsample(before: int, after: int, transposed: bool) -> nn.Module:
    return nn.ConvTranspose2d(before, after, 2, 2) if transposed else nn.Upsample(scale_factor=2.0, mode="nearest")


def _merge(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.SiLU())


def _move_off_constants(module: nn.Module) -> None:
    for value in module.parameters():
        if value.numel() and torch.all(value == value.reshape(-1)[0]):
            value.data = value.data + 0.25 * torch.randn_like(value)


def _calibrate(module: nn.Module, example: Tensor) -> None:
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.train()
        layer.momentum = 1.0  # the statistics of this batch alone
    with torch.no_grad():
        module(example)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.eval()
        layer.momentum = momentum
        layer.running_var.clamp_(min=SILENT * float(layer.running_var.mean()))


def _torchvision(name: str, shape: tuple[int, ...] = IMAGE, **options: object) -> Network:
    arguments = {"weights": None, "num_classes": CLASSES, **options}
    return Network(f"torchvision/{name}", lambda: torchvision.models.get_model(name, **arguments), shape)


def _segmentation(name: str) -> Network:
    arguments = {"weights": None, "weights_backbone": None, "num_classes": CLASSES}
    return Network(f"torchvision/{name}", lambda: Segmentation(torchvision.models.get_model(name, **arguments)), IMAGE)


def _timm(name: str, shape: tuple[int, ...] = IMAGE, **options: object) -> Network:
    return Network(f"timm/{name}", lambda: timm.create_model(name, num_classes=CLASSES, **options), shape)


def _unet(encoder: str, *, transposed: bool) -> Network:
    return Network(f"unet/{encoder}", lambda: UNet(encoder, transposed=transposed), IMAGE)


def _retinanet() -> nn.Module:
    detection = torchvision.models.detection
    backbone = detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d
    )
    return DetectorWithoutAnchors(detection.RetinaNet(backbone, CLASSES))


def _ssd() -> nn.Module:
    options = {"weights": None, "weights_backbone": None, "num_classes": CLASSES}
    return DetectorWithoutAnchors(torchvision.models.get_model("ssdlite320_mobilenet_v3_large", **options))


TIMM_NAMES = """
convmixer_768_32 convnext_atto convnextv2_atto cs3darknet_s cspdarknet53 cspresnet50 darknet53 dla34 dla46_c
dpn48b dpn68 eca_nfnet_l0 ecaresnet26t edgenext_xx_small efficientnet_lite0 efficientvit_b0
ese_vovnet19b_dw fastvit_t8 fbnetc_100 gcresnet33ts gernet_s ghostnet_100 ghostnetv2_100 hardcorenas_a
hgnetv2_b0 hrnet_w18_small inception_next_atto lcnet_050 legacy_seresnet18 mixnet_s mobilenetv4_conv_small
mobileone_s0 mobilevit_xxs mobilevitv2_050 nf_regnet_b0 nf_resnet50 poolformer_s12 regnety_002 regnetz_b16
repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_14w_8s res2next50 resnest14d resnet10t resnetblur50
resnetv2_50 rexnet_100 selecsls42b semnasnet_075 seresnext26d_32x4d skresnet18 spnasnet_100 starnet_s1
tf_efficientnet_b0 tf_mobilenetv3_small_minimal_100 tinynet_e vovnet39a xception41"""

NETWORKS = (
    _torchvision("alexnet", (3, 224, 224)),
    _torchvision("densenet121"),
    _torchvision("efficientnet_b0"),
    _torchvision("googlenet", aux_logits=False, init_weights=False),
    _torchvision("inception_v3", LARGE, aux_logits=False, init_weights=False),
    _torchvision("mnasnet0_5"),
    _torchvision("mobilenet_v2"),
    _torchvision("mobilenet_v3_small"),
    _torchvision("regnet_x_400mf"),
    _torchvision("resnet18"),
    _torchvision("resnext50_32x4d"),
    _torchvision("shufflenet_v2_x0_5"),
    _torchvision("squeezenet1_1"),
    _torchvision("r3d_18", CLIP),
    _torchvision("mc3_18", CLIP),
    _torchvision("r2plus1d_18", CLIP),
    _segmentation("deeplabv3_mobilenet_v3_large"),
    _segmentation("lraspp_mobilenet_v3_large"),
    Network("torchvision/retinanet_resnet18", _retinanet, LARGE),
    Network("torchvision/ssdlite_mobilenet_v3", _ssd, LARGE),
    _unet("resnet18", transposed=True),
    _unet("mobilenetv3_small_050", transposed=False),
    _unet("regnetx_002", transposed=True),
    *(_timm(name) for name in TIMM_NAMES.split()),
    _timm("efficientformer_l1", (3, 224, 224)),
    _timm("vit_tiny_patch16_224", img_size=64),
    _timm("mixer_s32_224", img_size=64),
)

BY_NAME = {network.name: network for network in NETWORKS}

SLOWLY_EXPORTED = {
    "torchvision/densenet121",
    "torchvision/googlenet",
    "torchvision/mobilenet_v3_small",
    "torchvision/regnet_x_400mf",
    "torchvision/resnet18",
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/squeezenet1_1",
    "torchvision/r3d_18",
    "unet/resnet18",
    "timm/convnext_atto",
    "timm/cs3darknet_s",
    "timm/dla46_c",
    "timm/edgenext_xx_small",
    "timm/ghostnet_100",
    "timm/legacy_seresnet18",
    "timm/mixnet_s",
    "timm/mobilevit_xxs",
    "timm/nf_regnet_b0",
    "timm/res2net50_14w_8s",
    "timm/resnest14d",
    "timm/skresnet18",
    "timm/tf_mobilenetv3_small_minimal_100",
    "timm/vit_tiny_patch16_224",
}
"""The networks that are also exported by dynamo, which takes ten times as long."""
