import sys

import pytest
import torch

from models.registry import networks

PARAMETERS = {  # of the papers' own or torchvision's implementations
    "digits_resnet": 953_738,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet20": 269_722,
    "resnet50": 25_557_032,
    "resnet56": 853_018,
    "vgg16_bn": 138_365_992,
    "yolov3": 61_949_149,
}

TORCHVISION = {  # network: a parameter of its first, a middle and its last layer, with shape
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "fc.bias": (1000,),
    },
    "resnet50": {
        "bn1.running_var": (64,),
        "layer1.0.downsample.1.weight": (256,),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
    },
    "vgg16_bn": {
        "features.0.weight": (64, 3, 3, 3),
        "features.40.weight": (512, 512, 3, 3),
        "classifier.6.weight": (1000, 4096),
    },
    "mobilenet_v2": {
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.17.conv.3.running_mean": (320,),
        "classifier.1.weight": (1000, 1280),
    },
}


def test_the_networks_are_found_by_the_names_of_their_builders() -> None:
    assert list(networks()) == sorted(PARAMETERS)
    assert all(network.name == name for name, network in networks().items())


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_its_published_number_of_parameters_and_says_so(name: str) -> None:
    with torch.device("meta"):
        module = networks()[name].build()
    assert sum(parameter.numel() for parameter in module.parameters()) == PARAMETERS[name]
    documentation = sys.modules[type(module).__module__].__doc__
    assert f"{PARAMETERS[name]:,}" in documentation


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_network_has_the_parameter_names_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        state = networks()[name].build().state_dict()
    assert {key: tuple(state[key].shape) for key in TORCHVISION[name]} == TORCHVISION[name]
