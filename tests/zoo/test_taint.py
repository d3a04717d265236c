"""The analysis finds the units that the taint oracle finds by perturbation."""

from collections import defaultdict

import pytest
from oracle import analysed

from toolchain.graph.analysis import Analysis
from toolchain.graph.labels import Role

pytest.importorskip("zoo.libraries", reason="the zoo is made of networks of torchvision and timm")

from zoo.exports import Exporter, export
from zoo.networks import BY_NAME
from zoo.taint import Channel, taint

pytestmark = pytest.mark.slow

NAMES = [
    "torchvision/googlenet",
    "torchvision/mnasnet0_5",
    "torchvision/mobilenet_v3_small",
    "torchvision/regnet_x_400mf",
    "torchvision/resnet18",
    "torchvision/squeezenet1_1",
    "unet/mobilenetv3_small_050",
    "unet/regnetx_002",
    "timm/cs3darknet_s",
    "timm/dla46_c",
    "timm/dpn48b",
    "timm/hrnet_w18_small",
    "timm/lcnet_050",
    "timm/legacy_seresnet18",
    "timm/mixnet_s",
    "timm/regnety_002",
    "timm/repvgg_a0",
    "timm/resnest14d",
    "timm/skresnet18",
]


@pytest.mark.parametrize("name", NAMES)
def test_units_are_those_that_perturbation_finds(name: str) -> None:
    network = BY_NAME[name]
    analysis = analysed(export(network.build(), network.example(), Exporter.FOLDED))
    assert produced_channels(analysis) == taint(analysis.model).units


def test_a_shuffle_ties_what_perturbation_tells_apart_for_its_layout_must_stay_rectangular() -> None:
    network = BY_NAME["torchvision/shufflenet_v2_x0_5"]
    analysis = analysed(export(network.build(), network.example(), Exporter.FOLDED))
    unit_of = {channel: unit for unit in produced_channels(analysis) for channel in unit}
    for found in taint(analysis.model).units:
        assert len({unit_of[channel] for channel in found}) == 1


def produced_channels(analysis: Analysis) -> frozenset[frozenset[Channel]]:
    """Return, for each unit that is not frozen, the channels of weights that produce it."""
    frozen = {int(unit) for group in analysis.groups if group.reason for unit in group.units} | {0}
    members: dict[int, set[Channel]] = defaultdict(set)
    for site in analysis.sites:
        if site.role is Role.PRODUCES and len(analysis.facts[site.parameter].shape or ()) > 1:
            for position, unit in enumerate(site.units.tolist()):
                members[unit].add((site.parameter, position))
    return frozenset(frozenset(channels) for unit, channels in members.items() if unit not in frozen)
