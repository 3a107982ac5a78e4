"""What is explained by default in each of the zoo's networks, and their stages."""

from __future__ import annotations

import pytest

from cnnviz.graph.architecture import Architecture
from cnnviz.models import zoo

# Name, kind and shape (channels, height, width) for images of the network's size, from the papers
# and the order in which Gluon lists the layers.
DEFAULT_LAYERS = {
    # The fifth and last convolution, before its ReLU and the last pooling (13 -> 6).
    "alexnet": ("features.6", "Convolution", (256, 13, 13)),
    # The last of 8, 10, 13 and 16 convolutions, or its batch norm, before ReLU and pooling.
    "vgg11": ("features.18", "Convolution", (512, 14, 14)),
    "vgg13": ("features.22", "Convolution", (512, 14, 14)),
    "vgg16": ("features.28", "Convolution", (512, 14, 14)),
    "vgg19": ("features.34", "Convolution", (512, 14, 14)),
    "vgg11_bn": ("features.26", "BatchNorm", (512, 14, 14)),
    "vgg13_bn": ("features.32", "BatchNorm", (512, 14, 14)),
    "vgg16_bn": ("features.41", "BatchNorm", (512, 14, 14)),
    "vgg19_bn": ("features.50", "BatchNorm", (512, 14, 14)),
    # The last block of the last stage, after the addition and its ReLU: the second of two or the
    # third of three, in the stage that follows four layers of stem and three stages.
    "resnet18_v1": ("features.7.1", "ReLU", (512, 7, 7)),
    "resnet34_v1": ("features.7.2", "ReLU", (512, 7, 7)),
    "resnet50_v1": ("features.7.2", "ReLU", (2048, 7, 7)),
    "resnet101_v1": ("features.7.2", "ReLU", (2048, 7, 7)),
    "resnet152_v1": ("features.7.2", "ReLU", (2048, 7, 7)),
    # What the global pooling (features.11) reads: batch norm and ReLU come after the last addition.
    "resnet18_v2": ("features.10", "ReLU", (512, 7, 7)),
    "resnet34_v2": ("features.10", "ReLU", (512, 7, 7)),
    "resnet50_v2": ("features.10", "ReLU", (2048, 7, 7)),
    "resnet101_v2": ("features.10", "ReLU", (2048, 7, 7)),
    "resnet152_v2": ("features.10", "ReLU", (2048, 7, 7)),
    # What the 7x7 pooling (features.13) reads. The channels are those of the paper's table 1:
    # 121 ends with 512 + 16 * 32, 161 with 1056 + 24 * 48, and so on.
    "densenet121": ("features.12", "ReLU", (1024, 7, 7)),
    "densenet161": ("features.12", "ReLU", (2208, 7, 7)),
    "densenet169": ("features.12", "ReLU", (1664, 7, 7)),
    "densenet201": ("features.12", "ReLU", (1920, 7, 7)),
    # The last fire module, two expansions of 256 joined: it feeds the classifier's convolution.
    "squeezenet1.0": ("features.12.1", "Concat", (512, 13, 13)),
    "squeezenet1.1": ("features.12.1", "Concat", (512, 13, 13)),
    # The last of eleven modules: 320 + 2 * 384 + 2 * 384 + 192 channels.
    "inceptionv3": ("features.17", "Concat", (2048, 8, 8)),
    # 27 convolutions with batch norm and ReLU, three entries each; the last batch norm.
    "mobilenet1.0": ("features.79", "BatchNorm", (1024, 7, 7)),
    "mobilenet0.75": ("features.79", "BatchNorm", (768, 7, 7)),
    "mobilenet0.5": ("features.79", "BatchNorm", (512, 7, 7)),
    "mobilenet0.25": ("features.79", "BatchNorm", (256, 7, 7)),
    # Stem (three entries), 17 bottlenecks, then the convolution to 1280 whatever the width.
    "mobilenetv2_1.0": ("features.21", "BatchNorm", (1280, 7, 7)),
    "mobilenetv2_0.75": ("features.21", "BatchNorm", (1280, 7, 7)),
    "mobilenetv2_0.5": ("features.21", "BatchNorm", (1280, 7, 7)),
    "mobilenetv2_0.25": ("features.21", "BatchNorm", (1280, 7, 7)),
}


def test_the_table_has_every_network():
    assert set(DEFAULT_LAYERS) == set(zoo.names()) - {"demo"}


@pytest.mark.parametrize("name", DEFAULT_LAYERS)
def test_default_layers(name):
    architecture = Architecture(*zoo.build(zoo.get(name)))
    layer = architecture.default_layer
    assert (layer.name, layer.kind, layer.shape) == DEFAULT_LAYERS[name]
    assert architecture.classes == 1000


# As many classes as the layer before has channels: then the classifier looks least like one.
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("alexnet", 256),
        ("vgg11", 512),
        ("resnet18_v1", 512),
        ("resnet18_v2", 512),
        ("densenet121", 1024),
        ("squeezenet1.0", 512),
        ("squeezenet1.1", 1),
        ("inceptionv3", 2048),
        ("mobilenet0.25", 256),
        ("mobilenetv2_0.25", 1280),
    ],
)
def test_other_numbers_of_classes_have_the_same_layer(name, classes):
    architecture = Architecture(*zoo.build(zoo.get(name), classes))
    layer = architecture.default_layer
    assert (layer.name, layer.kind, layer.shape) == DEFAULT_LAYERS[name]
    assert architecture.classes == classes


# (channels, side) of each stage. VGG: what each block ends with (Simonyan and Zisserman 2015, table
# 1). ResNet: conv2_x to conv5_x (He et al. 2016, table 1). DenseNet-121: each block ends with 64 +
# 6 * 32, 128 + 12 * 32, 256 + 24 * 32 and 512 + 16 * 32 channels (Huang et al. 2017, table 1).
# SqueezeNet 1.1: fire3, fire5 and fire9. Inception v3: its three grids (Szegedy et al. 2016, table
# 1, with Gluon's 35x35x288, 17x17x768, 8x8x2048). MobileNet: Howard et al. 2017, table 1; v2:
# Sandler et al. 2018, table 2: residual blocks from 56x56 on, and the last convolution.
STAGES = {
    "alexnet": [(64, 55), (192, 27), (256, 13)],
    "vgg11_bn": [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14)],
    "vgg16": [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14)],
    "resnet18_v1": [(64, 56), (128, 28), (256, 14), (512, 7)],
    "resnet34_v1": [(64, 56), (128, 28), (256, 14), (512, 7)],
    "resnet50_v1": [(256, 56), (512, 28), (1024, 14), (2048, 7)],
    "resnet18_v2": [(64, 56), (128, 28), (256, 14), (512, 7)],
    "densenet121": [(256, 56), (512, 28), (1024, 14), (1024, 7)],
    "squeezenet1.1": [(128, 55), (256, 27), (512, 13)],
    "inceptionv3": [(288, 35), (768, 17), (2048, 8)],
    "mobilenet1.0": [(64, 112), (128, 56), (256, 28), (512, 14), (1024, 7)],
    "mobilenetv2_1.0": [(24, 56), (32, 28), (96, 14), (1280, 7)],
}


@pytest.mark.parametrize("name", STAGES)
def test_stages(name):
    architecture = Architecture(*zoo.build(zoo.get(name)))
    stages = architecture.stages()
    assert [layer.shape for layer in stages] == [(c, s, s) for c, s in STAGES[name]]
    assert stages[-1] is architecture.default_layer


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        # The index before each max pool but its ReLU's, counted in torchvision's `features`.
        ("vgg16", ("features.2", "features.7", "features.14", "features.21", "features.28")),
        # 3, 4, 6 and 3 blocks.
        ("resnet34_v1", ("features.4.2", "features.5.3", "features.6.5", "features.7.2")),
    ],
)
def test_stages_are_what_each_block_of_layers_ends_with(name, layers):
    stages = Architecture(*zoo.build(zoo.get(name))).stages()
    assert tuple(layer.name for layer in stages) == layers
