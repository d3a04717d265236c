"""VGG-16 with BatchNorm (Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, table 1, D).

Input 3x224x224, 1000 classes, 138,365,992 parameters, under torchvision's names.
"""

from torch import Tensor, nn

from models.registry import network

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # width, convolutions


def features() -> nn.Sequential:
    """Stack 3x3 convolutions, BatchNorm and ReLU; each stage ends in a 2x2 max pooling."""
    layers: list[nn.Module] = []
    in_channels = 3
    for width, depth in STAGES:
        for _ in range(depth):
            layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            in_channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class VGG16BN(nn.Module):
    """Thirteen convolutions in five stages, then three linear layers on the flattened 7x7 maps."""

    def __init__(self) -> None:
        super().__init__()
        self.features = features()
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, 224, 224] to logits [N, 1000]."""
        return self.classifier(self.features(x).flatten(1))


@network(input_shape=(3, 224, 224))
def vgg16_bn() -> nn.Module:
    """Build VGG-16-BN."""
    return VGG16BN()
