"""Parameters and multiply-adds against the tables of the papers, worked out by hand."""

from __future__ import annotations

import pytest

from cnnviz.engines.mxnet.symbol import Graph, for_inference
from cnnviz.errors import NetworkError
from cnnviz.graph.architecture import Architecture
from cnnviz.importers.gluon import architecture_of_block
from cnnviz.importers.mxnet_checks import DATA
from cnnviz.importers.mxnet_symbol import architecture_of
from cnnviz.inspection.summary import Window, summarize
from cnnviz.models import zoo
from tests.support.mxnet import import_mxnet


def summary_of(name):
    entry = zoo.get(name)
    return summarize(Architecture(*zoo.build(entry)))


class Tally:
    """Sums over layers, as one does it on paper. Batch norm has two learned numbers a channel."""

    def __init__(self):
        self.parameters = self.multiply_adds = 0

    def conv(self, before, after, kernel, size, bias=True, groups=1, norm=False):
        weights = kernel * kernel * (before // groups) * after
        self.parameters += weights + bias * after + norm * 2 * after
        self.multiply_adds += weights * size * size

    def dense(self, before, after):
        self.parameters += before * after + after
        self.multiply_adds += before * after


def vgg16():
    """Simonyan & Zisserman 2015, table 1, configuration D."""
    tally, channels = Tally(), 3
    for size, widths in (
        (224, (64, 64)),
        (112, (128, 128)),
        (56, (256, 256, 256)),
        (28, (512, 512, 512)),
        (14, (512, 512, 512)),
    ):
        for width in widths:
            tally.conv(channels, width, 3, size)
            channels = width
    tally.dense(512 * 7 * 7, 4096)
    tally.dense(4096, 4096)
    tally.dense(4096, 1000)
    return tally


def alexnet():
    """Krizhevsky 2014 ("one weird trick"), without the split over two GPUs."""
    tally = Tally()
    tally.conv(3, 64, 11, 55)
    tally.conv(64, 192, 5, 27)
    tally.conv(192, 384, 3, 13)
    tally.conv(384, 256, 3, 13)
    tally.conv(256, 256, 3, 13)
    tally.dense(256 * 6 * 6, 4096)
    tally.dense(4096, 4096)
    tally.dense(4096, 1000)
    return tally


def resnet50_v1():
    """He et al. 2016, table 1; the first 1×1 of a block has the stride, and the 1×1 have biases."""
    tally = Tally()
    tally.conv(3, 64, 7, 112, bias=False, norm=True)
    channels = 64
    for size, width, blocks in ((56, 64, 3), (28, 128, 4), (14, 256, 6), (7, 512, 3)):
        for block in range(blocks):
            tally.conv(channels, width, 1, size, norm=True)
            tally.conv(width, width, 3, size, bias=False, norm=True)
            tally.conv(width, 4 * width, 1, size, norm=True)
            if block == 0:
                tally.conv(channels, 4 * width, 1, size, bias=False, norm=True)
            channels = 4 * width
    tally.dense(2048, 1000)
    return tally


def mobilenet():
    """Howard et al. 2017, table 1."""
    tally = Tally()
    tally.conv(3, 32, 3, 112, bias=False, norm=True)
    channels = 32
    for size, width in (
        (112, 64),
        (56, 128),
        (56, 128),
        (28, 256),
        (28, 256),
        (14, 512),
        *[(14, 512)] * 5,
        (7, 1024),
        (7, 1024),
    ):
        tally.conv(channels, channels, 3, size, bias=False, groups=channels, norm=True)
        tally.conv(channels, width, 1, size, bias=False, norm=True)
        channels = width
    tally.dense(1024, 1000)
    return tally


def squeezenet(first, fires):
    """Iandola et al. 2016, table 1: fires are (size, input, squeeze, each expand)."""
    tally = Tally()
    tally.conv(3, *first)
    for size, channels, squeeze, expand in fires:
        tally.conv(channels, squeeze, 1, size)
        tally.conv(squeeze, expand, 1, size)
        tally.conv(squeeze, expand, 3, size)
    tally.conv(512, 1000, 1, fires[-1][0])
    return tally


FIRES = ((96, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128))
FIRES += ((256, 48, 192), (384, 48, 192), (384, 64, 256), (512, 64, 256))


# What the papers, or the networks' makers, give: parameters and billions of multiply-adds, to as
# many digits as they give.
@pytest.mark.parametrize(
    ("name", "tally", "parameters", "billions"),
    [
        ("vgg16", vgg16(), 138_357_544, "15.5"),
        ("alexnet", alexnet(), 61_100_840, "0.7"),
        # 25,557,032 is the number for convolutions without bias; here 18,880 have one.
        ("resnet50_v1", resnet50_v1(), 25_557_032 + 18_880, "3.9"),
        ("mobilenet1.0", mobilenet(), 4_231_976, "0.569"),
        (
            "squeezenet1.0",
            # Sizes of images of 224 pixels, where the paper has the parameters alone.
            squeezenet(
                (96, 7, 109),
                [
                    (size, *fire)
                    for size, fire in zip((54,) * 3 + (27,) * 4 + (13,), FIRES, strict=True)
                ],
            ),
            1_248_424,
            "0.82",
        ),
        (
            "squeezenet1.1",
            squeezenet(
                (64, 3, 111),
                [
                    (size, 64 if place == 0 else fire[0], *fire[1:])
                    for place, (size, fire) in enumerate(
                        zip((55, 55, 27, 27, 13, 13, 13, 13), FIRES, strict=True)
                    )
                ],
            ),
            1_235_496,
            "0.35",
        ),
    ],
)
def test_published_networks(name, tally, parameters, billions):
    summary = summary_of(name)
    assert summary.parameters == tally.parameters == parameters
    assert summary.multiply_adds == tally.multiply_adds
    digits = len(billions.partition(".")[2])
    assert f"{summary.multiply_adds / 1e9:.{digits}f}" == billions


@pytest.mark.parametrize("name", ["resnet18_v2", "resnet50_v2", "vgg11_bn"])
def test_learned_and_fixed_values_are_those_of_the_table(name):
    """ResNet v2 begins with a batch norm that learns neither scale nor shift."""
    entry, summary = zoo.get(name), summary_of(name)
    assert summary.parameters == entry.parameters
    assert summary.fixed == entry.stored - entry.parameters


def test_running_statistics_are_kept_apart():
    # Two numbers a channel and batch norm: the widths of VGG-16's convolutions add up to 4224.
    plain, normed = summary_of("vgg16"), summary_of("vgg16_bn")
    assert plain.fixed == 0
    assert normed.fixed == 2 * 4224
    assert normed.parameters == plain.parameters + 2 * 4224
    assert normed.weight_bytes == 4 * (normed.parameters + normed.fixed)
    assert normed.multiply_adds == plain.multiply_adds


@pytest.fixture(scope="module")
def nn():
    return import_mxnet().gluon.nn


def summary_of_layers(nn, *layers, shape=(3, 12, 10)):
    block = nn.HybridSequential()
    block.add(*layers)
    return summarize(architecture_of_block(block, shape))


def test_layers_by_hand(nn):
    summary = summary_of_layers(
        nn,
        nn.Conv2D(6, (3, 5), strides=(2, 1), groups=3, in_channels=3),  # 6×5×6
        nn.Conv2D(4, 3, padding=2, dilation=2, use_bias=False, in_channels=6),  # 4×5×6
        nn.Conv2DTranspose(8, 2, strides=2, groups=2, in_channels=4),  # 8×10×12
        nn.MaxPool2D((2, 3), strides=2),  # 8×5×5
        nn.BatchNorm(scale=False),  # its gamma is held at 1
        nn.GlobalAvgPool2D(),
        nn.Dense(7),
    )
    rows = {(layer.kind, layer.shape): layer for layer in summary.layers}
    first = rows["Convolution", (6, 5, 6)]
    assert (first.parameters, first.multiply_adds) == (6 * 1 * 15 + 6, 5 * 6 * 6 * 15)
    assert first.window == Window((3, 5), (2, 1), (1, 1), 3)
    assert str(first.window) == "3×5/2×1 g3"
    second = rows["Convolution", (4, 5, 6)]
    assert (second.parameters, second.multiply_adds) == (4 * 6 * 9, 5 * 6 * 4 * 6 * 9)
    assert str(second.window) == "3×3 d2"
    transposed = rows["Deconvolution", (8, 10, 12)]
    # Each of 4×5×6 inputs goes into 4 of 8 channels, at 2×2 places.
    assert (transposed.parameters, transposed.multiply_adds) == (4 * 4 * 4 + 8, 4 * 5 * 6 * 4 * 4)
    assert str(rows["MaxPool", (8, 5, 5)].window) == "2×3/2"
    norm = rows["BatchNorm", (8, 5, 5)]
    assert (norm.parameters, norm.fixed, norm.multiply_adds) == (8, 3 * 8, 0)
    assert str(rows["GlobalAvgPool", (8, 1, 1)].window) == ""
    dense = rows["Dense", (7,)]
    assert (dense.parameters, dense.multiply_adds) == (8 * 7 + 7, 8 * 7)
    assert summary.parameters == sum((96, 216, 72, 8, 63))
    assert summary.fixed == 24
    assert summary.uncounted == ("MaxPool", "BatchNorm", "GlobalAvgPool")


def test_dense_layers_with_and_without_flattening(nn):
    summary = summary_of_layers(
        nn,
        nn.Conv2D(2, 3, padding=1, in_channels=3),
        nn.Dense(5, flatten=False),  # of each row of 10 numbers
        nn.Dense(7),  # of all 2×12×5
    )
    each_row, whole = (layer for layer in summary.layers if layer.kind == "Dense")
    assert each_row.shape == (2, 12, 5)
    assert (each_row.parameters, each_row.multiply_adds) == (10 * 5 + 5, 2 * 12 * 10 * 5)
    assert (whole.parameters, whole.multiply_adds) == (120 * 7 + 7, 120 * 7)


def test_shared_parameters_count_once(nn):
    first = nn.Conv2D(4, 3, padding=1, in_channels=4)
    second = nn.Conv2D(4, 3, padding=1, in_channels=4, params=first.params)
    summary = summary_of_layers(
        nn, nn.Conv2D(4, 1, in_channels=3), first, second, nn.GlobalAvgPool2D(), nn.Flatten()
    )
    _, one, other = (layer for layer in summary.layers if layer.kind == "Convolution")
    assert (one.parameters, one.shared) == (4 * 4 * 9 + 4, ())
    assert (other.parameters, other.shared) == (0, (first.weight.name, first.bias.name))
    assert other.multiply_adds == one.multiply_adds == 12 * 10 * 4 * 4 * 9
    assert summary.parameters == 4 * 3 + 4 + one.parameters


def scaled_weights():
    """A convolution whose weights are a product: direction and length, learned apart."""
    sym = import_mxnet().sym
    weight = sym.broadcast_mul(sym.var("direction"), sym.var("length"))
    net = sym.Convolution(sym.var(DATA), weight=weight, num_filter=5, kernel=(3, 3), no_bias=True)
    net = sym.Pooling(net, global_pool=True, pool_type="avg", kernel=(1, 1))
    return for_inference(Graph.from_symbol(sym.Flatten(net))).graph


def test_weights_that_are_made_of_parameters():
    hints = {"direction": (5, 3, 3, 3), "length": (5, 1, 1, 1)}
    summary = summarize(architecture_of(scaled_weights(), (3, 8, 8), {}, hints))
    assert summary.layers[0].parameters == 5 * 27 + 5
    assert summary.multiply_adds == 6 * 6 * 5 * 27


def test_an_unknown_shape_is_said():
    with pytest.raises(NetworkError, match=r"parameter (direction|length) .* --weights"):
        summarize(architecture_of(scaled_weights(), (3, 8, 8), {}))
