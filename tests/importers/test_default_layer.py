"""Which layer is explained by default, where that is not the last of a straight line."""

from __future__ import annotations

import pytest

from cnnviz import Explainer, InputSpec
from cnnviz.graph.regions import Region
from cnnviz.importers.gluon import architecture_of_block, from_gluon
from cnnviz.importers.mxnet_symbol import architecture_of
from tests.support.mxnet import import_mxnet

mx = import_mxnet()
nn = mx.gluon.nn


def stage(channels, stride=2):
    block = nn.HybridSequential()
    block.add(nn.Conv2D(channels, 3, stride, 1), nn.BatchNorm(), nn.Activation("relu"))
    return block


class Net(mx.gluon.HybridBlock):
    """Four stages of 16 to 64 channels and halving sides, a dense layer, and a way between them."""

    def __init__(self, way, **blocks):
        super().__init__(prefix="net_")
        self.way = way
        self.pool = nn.GlobalAvgPool2D()
        self.out = nn.Dense(10)
        for name, block in blocks.items():
            setattr(self, name, block)
        for number, channels in enumerate((16, 24, 32, 64), 1):
            setattr(self, f"stage{number}", stage(channels))

    def hybrid_forward(self, F, x):
        return self.way(self, F, x)

    def levels(self, x):
        """The ends of all stages."""
        found = []
        for number in range(1, 5):
            x = getattr(self, f"stage{number}")(x)
            found.append(x)
        return found


def default(way, shape=(3, 64, 64), **blocks):
    """The default layer's name, shape and whether it sees the whole image."""
    net = Net(way, **blocks)
    architecture = architecture_of_block(net, shape)
    layer = architecture.default_layer
    assert architecture.stages()[-1] is layer
    return layer.name, layer.shape, architecture.region(layer)


WHOLE = Region()


@pytest.mark.parametrize("order", [1, -1])
def test_levels_that_are_pooled_one_by_one_end_with_the_last(order):
    """As deep layer aggregation classifies: the logits read every level."""

    def way(net, F, x):
        found = [F.flatten(net.pool(level)) for level in net.levels(x)]
        return net.out(F.concat(*found[::order], dim=1))

    # A batch norm, before its ReLU, as everywhere where no branches join.
    assert default(way) == ("stage4.1", (64, 4, 4), WHOLE)


def test_side_branch_of_an_early_stage_is_not_the_end():
    """As SSR-Net has them: a 1x1 convolution beside each stage, the shallowest one written last."""

    def way(net, F, x):
        found = net.levels(x)
        sides = [net.side4(found[3]), net.side2(found[1]), net.side1(found[0])]
        return net.out(F.concat(*[F.flatten(net.pool(side)) for side in sides], dim=1))

    sides = {f"side{number}": nn.Conv2D(10, 1) for number in (1, 2, 4)}
    assert default(way, **sides) == ("side4", (10, 4, 4), WHOLE)


def test_feature_pyramid_ends_with_its_coarsest_level():
    def way(net, F, x):
        found = net.levels(x)
        top = net.side4(found[3])
        middle = net.side3(found[2]) + F.UpSampling(top, scale=2, sample_type="nearest")
        return net.out(F.concat(*[F.flatten(net.pool(one)) for one in (top, middle)], dim=1))

    sides = {f"side{number}": nn.Conv2D(12, 1) for number in (3, 4)}
    assert default(way, **sides) == ("side4", (12, 4, 4), WHOLE)


def test_heads_beside_each_other_share_what_they_read():
    def way(net, F, x):
        x = net.levels(x)[-1]
        heads = [F.flatten(net.pool(head(x))) for head in (net.age, net.sex)]
        return F.concat(*heads, dim=1)

    assert default(way, age=nn.Conv2D(8, 1), sex=nn.Conv2D(2, 1)) == (
        "stage4.1",
        (64, 4, 4),
        WHOLE,
    )


def test_pyramid_pooling_reads_one_layer():
    def way(net, F, x):
        x = net.levels(x)[-1]
        pooled = [F.flatten(F.contrib.AdaptiveAvgPooling2D(x, output_size=n)) for n in (1, 2, 4)]
        return net.out(F.concat(*pooled, dim=1))

    assert default(way) == ("stage4.1", (64, 4, 4), WHOLE)


def gate(net, F, x):
    return F.broadcast_mul(x, F.sigmoid(net.up(net.down(net.pool(x))))), "Multiply"


def attention(net, F, x):
    weights = F.softmax(F.reshape(net.look(x), (0, -1))).reshape((0, 1, 4, 4))
    return F.broadcast_mul(x, weights), "Multiply"


@pytest.mark.parametrize("kind", [gate, attention])
def test_gates_and_attention_over_places_are_joins(kind):
    def way(net, F, x):
        x, _ = kind(net, F, net.levels(x)[-1])
        return net.out(F.sum(x, axis=(2, 3)))

    blocks = {"up": nn.Conv2D(64, 1), "down": nn.Conv2D(8, 1), "look": nn.Conv2D(1, 1)}
    net = Net(way, **blocks)
    layer = architecture_of_block(net, (3, 64, 64)).default_layer
    assert (layer.kind, layer.shape) == ("Multiply", (64, 4, 4))


def test_attention_that_sums_up_places_reads_what_it_attends_to():
    """Bilinear attention pooling: maps of parts, by a convolution, times features."""

    def way(net, F, x):
        x = net.levels(x)[-1]
        parts = F.reshape(F.sigmoid(net.parts(x)), (0, 0, -1))
        return net.out(F.batch_dot(parts, F.reshape(x, (0, 0, -1)), transpose_b=True))

    assert default(way, parts=nn.Conv2D(4, 1)) == ("stage4.1", (64, 4, 4), WHOLE)


def test_numbers_of_capsules_are_no_map():
    """Height and width are lost where places become capsules, though there are two axes again."""

    def way(net, F, x):
        x = F.transpose(F.reshape(net.levels(x)[-1], (0, 8, 8, -1)), (0, 1, 3, 2))
        capsules = F.reshape(x, (0, -1, 1, 8))
        length = F.sqrt(F.sum(capsules * capsules, axis=3, keepdims=True))
        return net.out(F.broadcast_div(capsules, 1 + length))

    assert default(way) == ("stage4.1", (64, 4, 4), WHOLE)


def test_channels_may_be_shuffled_by_reshapes():
    """As ShuffleNet does: between the axes there are five, and height and width the last."""

    def way(net, F, x):
        x = F.reshape(net.last(net.levels(x)[-1]), (0, -4, 8, -1, -2))
        x = F.reshape(F.swapaxes(x, 1, 2), (0, -3, -2))
        return net.out(net.pool(F.broadcast_add(x, F.sigmoid(x))))

    name, shape, _ = default(way, (3, 64, 256), last=nn.Conv2D(64, (3, 1), strides=(2, 1)))
    assert (name, shape) == ("net_broadcast_add0", (64, 1, 16))


# --- class maps ---------------------------------------------------------------------------------


AVERAGES = {
    "global pooling": lambda F, y: F.flatten(
        F.Pooling(y, kernel=(1, 1), global_pool=True, pool_type="avg")
    ),
    "adaptive pooling": lambda F, y: F.flatten(F.contrib.AdaptiveAvgPooling2D(y, output_size=1)),
    "sum": lambda F, y: F.sum(y, axis=(2, 3)),
    "mean": lambda F, y: F.mean(y, axis=(2, 3)),
    "axis by axis": lambda F, y: F.mean(F.mean(y, axis=3), axis=2),
    "not the first two": lambda F, y: F.mean(y, axis=(0, 1), exclude=True),
    "maximum": lambda F, y: F.max(y, axis=(2, 3)),
    "sum, scaled": lambda F, y: F.sum(y, axis=(2, 3)) / 16,
    "reshaped": lambda F, y: F.mean(F.reshape(y, (0, 0, -1)), axis=2),
    "both poolings": lambda F, y: F.mean(y, axis=(2, 3)) + 0.2 * F.max(y, axis=(2, 3)),
    "log of sum of exponentials": lambda F, y: F.log(F.mean(F.exp(y), axis=(2, 3))),
}
AFTER = {
    "nothing": nn.HybridSequential,
    "batch norm": nn.BatchNorm,
    "relu": lambda: nn.Activation("relu"),
    "leaky": lambda: nn.LeakyReLU(0.1),
    "prelu": nn.PReLU,
    "swish": nn.Swish,
    "dropout": lambda: nn.Dropout(0.5),
}


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("after", AFTER)
def test_class_maps_however_they_are_averaged_belong_to_the_classifier(average, after):
    def way(net, F, x):
        return AVERAGES[average](F, net.after(net.maps(net.levels(x)[-1])))

    blocks = {"maps": nn.Conv2D(10, 1), "after": AFTER[after]()}
    assert default(way, **blocks) == ("stage4.1", (64, 4, 4), WHOLE)


def test_class_maps_of_several_convolutions_added_up():
    def way(net, F, x):
        x = net.levels(x)[-1]
        return F.mean(net.a(x) + net.b(x) + net.c(x), axis=(2, 3))

    rates = {name: nn.Conv2D(10, 3, padding=r, dilation=r) for r, name in enumerate("abc", 1)}
    assert default(way, **rates) == ("stage4.1", (64, 4, 4), WHOLE)


def test_class_maps_with_attention_of_their_own():
    def way(net, F, x):
        x = net.levels(x)[-1]
        return F.sum(F.broadcast_mul(net.maps(x), F.sigmoid(net.look(x))), axis=(2, 3))

    blocks = {"maps": nn.Conv2D(10, 1), "look": nn.Conv2D(1, 1)}
    assert default(way, **blocks) == ("stage4.1", (64, 4, 4), WHOLE)


def test_residual_block_that_makes_the_logits_is_no_class_map():
    def way(net, F, x):
        x = net.narrow(net.levels(x)[-1])
        return F.mean(x + net.branch(x), axis=(2, 3))

    net = Net(way, narrow=nn.Conv2D(10, 1), branch=nn.Conv2D(10, 3, 1, 1))
    layer = architecture_of_block(net, (3, 64, 64)).default_layer
    assert (layer.kind, layer.shape) == ("Add", (10, 4, 4))


def test_class_maps_in_numpy_operators():
    npx = mx.npx

    class Maps(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.first, self.maps = nn.Conv2D(6, 3), nn.Conv2D(10, 1)

        def hybrid_forward(self, F, x):
            return F.np.mean(F.npx.relu(self.maps(self.first(x))), axis=(2, 3))

    npx.set_np()
    try:
        symbol = Maps()(mx.sym.var("data").as_np_ndarray())
    finally:
        npx.reset_np()
    from cnnviz.engines.mxnet.symbol import Graph, for_inference

    graph = for_inference(Graph.from_symbol(symbol)).graph
    architecture = architecture_of(graph, (3, 16, 16), {})
    assert architecture.default_layer.shape == (6, 14, 14)


def test_convolution_of_as_many_channels_as_classes_before_a_dense_layer_is_no_class_map():
    def way(net, F, x):
        return net.out(net.pool(net.maps(net.levels(x)[-1])))

    assert default(way, maps=nn.Conv2D(10, 1)) == ("maps", (10, 4, 4), WHOLE)


# --- a bias apart -------------------------------------------------------------------------------


class Bias(mx.gluon.HybridBlock):
    """As Keras on MXNet exports it."""

    def __init__(self):
        super().__init__()
        self.bias = self.params.get("bias", shape=(1, 64, 1, 1))

    def hybrid_forward(self, F, x, bias):
        return F.broadcast_add(x, bias)


@pytest.mark.parametrize("normed", [False, True])
def test_bias_that_is_added_apart_belongs_to_its_convolution(normed):
    def way(net, F, x):
        x = net.bias(net.last(net.levels(x)[-1]))
        x = F.relu(net.norm(x) if normed else x)
        return net.out(net.pool(x))

    blocks = {"last": nn.Conv2D(64, 3, use_bias=False), "bias": Bias(), "norm": nn.BatchNorm()}
    assert default(way, **blocks)[0] == ("norm" if normed else "bias")


# --- parts of the image -------------------------------------------------------------------------


def features(net, F, x):
    return F.flatten(net.pool(net.levels(x)[-1]))


HALVES = {
    "slice_axis": lambda F, x: [
        F.slice_axis(x, axis=2, begin=0, end=64),
        F.slice_axis(x, axis=-2, begin=-64, end=None),
    ],
    "slice": lambda F, x: [
        F.slice(x, begin=(None, None, 0), end=(None, None, 64)),
        F.slice(x, begin=(0, 0, 64, 0), end=(None, None, 128, None)),
    ],
    "split": lambda F, x: list(F.split(x, axis=2, num_outputs=2)),
    "split_v2": lambda F, x: list(F.split_v2(x, 2, axis=2)),
    "split at": lambda F, x: list(F.split_v2(x, (64,), axis=2)),
    "crop": lambda F, x: [
        F.Crop(x, offset=(0, 0), h_w=(64, 64), num_args=1),
        F.Crop(x, offset=(64, 0), h_w=(64, 64), num_args=1),
    ],
}


@pytest.mark.parametrize("cut", HALVES)
def test_tower_over_one_half_of_the_image(cut):
    """Two faces in one image, one above the other: each tower sees one. The last one is taken."""

    def way(net, F, x):
        return net.out(F.concat(*[features(net, F, half) for half in HALVES[cut](F, x)], dim=1))

    _name, shape, region = default(way, (3, 128, 64))
    assert (shape, region) == ((64, 4, 4), Region(0.5, 1.0, 0.0, 1.0))
    assert not region.is_whole


def test_towers_over_colors_see_the_whole_image():
    def way(net, F, x):
        parts = [features(net, F, part) for part in F.split(x, axis=1, num_outputs=3)]
        return net.out(F.concat(*parts, dim=1))

    assert default(way)[1:] == ((64, 4, 4), WHOLE)


def test_halves_whose_maps_are_compared_place_by_place_lie_on_one_another():
    def way(net, F, x):
        upper, lower = (net.levels(half)[-1] for half in F.split(x, axis=2, num_outputs=2))
        return net.out(net.pool(F.abs(upper - lower)))

    _, shape, region = default(way, (3, 128, 64))
    assert (shape, region) == ((64, 4, 4), Region(stacked=True))
    assert not region.is_whole


def test_halves_put_together_again_are_the_whole():
    def way(net, F, x):
        maps = [net.levels(half)[-1] for half in F.split(x, axis=3, num_outputs=2)]
        return net.out(net.pool(F.concat(*maps, dim=3)))

    assert default(way, (3, 64, 128))[1:] == ((64, 4, 8), WHOLE)


def test_stripes_of_a_layer_with_heads_of_their_own_are_explained_at_the_layer():
    """As people are told apart by parts: the stripes belong to the level of what was striped."""

    def way(net, F, x):
        stripes = F.split(net.levels(x)[-1], axis=2, num_outputs=4)
        heads = [getattr(net, f"head{number}")(one) for number, one in enumerate(stripes)]
        return net.out(F.concat(*[F.flatten(net.pool(head)) for head in heads], dim=1))

    heads = {f"head{number}": nn.Conv2D(8, 1) for number in range(4)}
    assert default(way, (3, 128, 64), **heads) == ("stage4.1", (64, 8, 4), WHOLE)


def test_deep_towers_behind_a_shallow_stem_are_not_explained_at_the_stem():
    def way(net, F, x):
        halves = F.split(net.stage1(x), axis=2, num_outputs=2)
        deep = [net.stage4(net.stage3(net.stage2(half))) for half in halves]
        return net.out(F.concat(*[F.flatten(net.pool(one)) for one in deep], dim=1))

    assert default(way, (3, 128, 64))[1:] == ((64, 4, 4), Region(0.5, 1.0, 0.0, 1.0))


def test_a_row_cut_off_to_fit_is_no_part():
    def way(net, F, x):
        x = net.levels(x)[-1]
        trimmed = F.slice_axis(x, axis=2, begin=0, end=15)
        return net.out(net.pool(trimmed + net.same(trimmed)))

    _, shape, region = default(way, (3, 256, 64), same=nn.Conv2D(64, 1))
    assert shape == (64, 15, 4)
    assert region.is_whole


def test_every_other_row_is_no_part():
    """Space to depth by slices, as YOLOv5's focus layer has it."""

    def way(net, F, x):
        parts = [
            F.slice(x, begin=(0, 0, down, across), end=(None,) * 4, step=(1, 1, 2, 2))
            for down in (0, 1)
            for across in (0, 1)
        ]
        return net.out(features(net, F, F.concat(*parts, dim=1)))

    assert default(way)[2].is_whole


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (
            lambda net, F, x: net.out(features(net, F, F.split(x, axis=2, num_outputs=2)[1])),
            "sees only part of the image (50 % to 100 % of its height, 0 % to 100 % of its width); "
            "its maps are drawn over all of it all the same.",
        ),
        (
            lambda net, F, x: net.out(
                net.pool(
                    F.broadcast_mul(
                        *(net.levels(half)[-1] for half in F.split(x, axis=3, num_outputs=2))
                    )
                )
            ),
            "lays different parts of the image on one another, so that no place in its maps is "
            "one place in the image.",
        ),
        (lambda net, F, x: net.out(features(net, F, x)), None),
    ],
)
def test_what_a_layer_does_not_see_is_said(way, said):
    net = Net(way)
    net.initialize()
    explainer = Explainer(from_gluon(net, (3, 64, 64)), InputSpec(64, 64))
    assert [note.partition(") ")[2] for note in explainer.notes] == ([] if said is None else [said])
