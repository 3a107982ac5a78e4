"""Random networks: what belongs to a level, what becomes of it, and that nothing else changes."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from cnnviz.engines.base import Device
from cnnviz.engines.network import Network
from cnnviz.engines.registry import AUTO, ENGINES, build_engine
from cnnviz.errors import UsageError
from cnnviz.graph.architecture import Architecture
from cnnviz.graph.graph import Graph, Value
from cnnviz.graph.operators import (
    Add,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    MatMul,
    Multiply,
    Parameter,
    PReLU,
    Where,
)
from cnnviz.metrics.randomization_networks import (
    Drawing,
    cascade,
    find_levels,
    one_by_one,
    randomized,
    spaced,
)
from tests.support.networks import branching, flatten, random_parameters, relu, sequential
from tests.support.transformers import CHANNELS, PLACES, Writer, swin, vision_transformer

ALL = 1000  # levels: more than any of these networks has


def variety() -> Graph:
    """Weights of all kinds, and parameters that are none: slopes, layer scales, a mask."""
    w = Writer((3, 12, 16))
    data = w.patches()
    data = w.add(PReLU(), data, w.parameter("slope", CHANNELS), name="prelu")
    stored = [w.parameter(f"up.{name}", *shape) for name, shape in (("weight", (8, 2, 3, 3)),)]
    up = ConvTranspose2d(4, (3, 3), (1, 1), (1, 1, 1, 1), groups=2)
    data = w.add(up, data, *stored, w.parameter("up.bias", 4), name="up")
    names = ("scale", "shift", "mean", "running_var")
    data = w.add(BatchNorm(), data, *(w.parameter(f"bn.{name}", 4) for name in names), name="bn")
    grouped = Conv2d(6, (3, 3), (1, 1), (1, 1, 1, 1), groups=2)
    data = w.add(grouped, data, w.parameter("conv.weight", 6, 2, 3, 3), name="conv")
    data = w.add(Multiply(), data, w.parameter("layer_scale", 6, 1, 1))
    data = w.reshaped(data, 6, PLACES)
    data = w.add(MatMul(), data, w.parameter("right", PLACES, 5), name="right_product")
    data = w.add(MatMul(), w.parameter("left", 7, 6), data, name="left_product")
    data = w.add(Where(), w.parameter("mask", 7, 5), data, w.parameter("instead", 7, 5))
    data = w.add(Add(), data, w.parameter("position", 7, 5))
    return w.finish(w.linear(w.reshaped(data, 35), 4, "head"))


GRAPHS = {
    "branching": branching().graph,
    "transformer": vision_transformer(),
    "windows": swin(),
    "variety": variety(),
}
#: What no training has made, and what chooses between values.
NOT_RANDOM = {"mask"}


def network_of(graph: Graph, engine: str = AUTO) -> Network:
    architecture = Architecture(graph, {})
    return Network(
        architecture, build_engine(graph, random_parameters(graph), Device("cpu"), engine)
    )


def parameters(network: Network) -> dict[str, np.ndarray]:
    """All arrays, read back from the engine."""
    nodes = network.architecture.graph.nodes
    return {
        node.name: network.engine.constant(Value(index))
        for index, node in enumerate(nodes)
        if isinstance(node.operator, Parameter)
    }


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    """The names of arrays that are not the same bit for bit."""
    return {name for name in before if not np.array_equal(before[name], after[name])}


@pytest.fixture(params=GRAPHS)
def network(request):
    return network_of(GRAPHS[request.param])


def test_a_layer_its_bias_and_its_batch_norm_are_one_level():
    graph, paths = branching()
    levels = find_levels(Architecture(graph, paths))
    first = levels[0]
    assert first.layer == "trunk.conv"
    kinds = {name.rpartition(".")[2] for name in first.parameters}
    assert kinds == {"weight", "bias", "gamma", "beta", "running_mean", "running_var"}
    assert len(levels) == 6  # four convolutions, two dense layers
    assert [name.rpartition(".")[2] for name in levels[-1].parameters] == ["weight", "bias"]


def test_tokens_and_position_embeddings_belong_to_the_patches():
    levels = find_levels(Architecture(vision_transformer(), {}))
    assert [level.layer for level in levels] == [
        "patch",
        *(f"block{n}.{part}" for n in (0, 1) for part in ("qkv", "proj", "fc1", "fc2")),
        "head",
    ]
    assert {"prefix", "position", "patch.weight", "block0.norm1.gamma"} <= set(levels[0].parameters)


def test_what_comes_before_the_first_weights_belongs_to_them():
    w = Writer((3, 4, 5))
    data = w.add(Multiply(), w.input, w.parameter("input_scale", 3, 1, 1))
    levels = find_levels(Architecture(w.finish(w.linear(w.reshaped(data, 60), 4, "head")), {}))
    assert [(level.layer, level.parameters) for level in levels] == [
        ("head", ("input_scale", "head.weight", "head.bias"))
    ]


def test_every_parameter_belongs_to_one_level(network):
    names = [name for level in find_levels(network.architecture) for name in level.parameters]
    assert len(names) == len(set(names))
    assert set(names) == set(network.architecture.parameter_shapes) - NOT_RANDOM


def test_a_parameter_of_several_layers_belongs_to_the_last():
    w = Writer((3, 4, 5))
    shared, convolution = w.parameter("shared", 3, 3, 1, 1), Conv2d(3, (1, 1))
    lower = w.add(convolution, w.input, shared, w.parameter("bias", 3), name="lower")
    upper = w.add(convolution, lower, shared, name="upper")
    levels = find_levels(Architecture(w.finish(w.linear(w.reshaped(upper, 60), 2, "head")), {}))
    assert [(level.layer, level.parameters) for level in levels] == [
        ("lower", ("bias",)),
        ("upper", ("shared",)),
        ("head", ("head.weight", "head.bias")),
    ]


@pytest.mark.parametrize("how", ["permute", "he"])
def test_randomizing_reaches_every_parameter_and_no_other_network(network, how):
    before, logits = parameters(network), network.logits(images(network))
    *_, last = cascade(network, find_levels(network.architecture), Drawing(how), ALL)
    assert last.share == 1
    single = {name for name, values in before.items() if len(np.unique(values)) == 1}
    assert changed(before, parameters(last.network)) == set(before) - single - NOT_RANDOM
    assert not changed(before, parameters(network))
    np.testing.assert_array_equal(network.logits(images(network)), logits)


def images(network: Network) -> np.ndarray:
    shape = (2, *network.architecture.input_shape)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def test_a_permutation_keeps_the_values(network):
    names = [name for level in find_levels(network.architecture) for name in level.parameters]
    before = parameters(network)
    after = randomized(network, names, Drawing("permute"))
    for name in names:
        assert after[name].dtype == np.float32
        np.testing.assert_array_equal(np.sort(after[name], None), np.sort(before[name], None))


def test_a_channels_normalization_goes_to_another_channel_as_a_whole():
    network = network_of(GRAPHS["variety"])
    before = parameters(network)
    names = ("bn.scale", "bn.shift", "bn.mean", "bn.running_var")
    after = randomized(network, names, Drawing("permute"))
    rows = [np.stack([of[name] for name in names], 1).tolist() for of in (before, after)]
    assert rows[0] != rows[1]
    assert sorted(rows[0]) == sorted(rows[1])


def test_he_initialization_is_that_before_training():
    network = network_of(GRAPHS["variety"])
    names = list(network.architecture.parameter_shapes.keys() - NOT_RANDOM)
    after = randomized(network, names, Drawing("he"))
    for name in ("patch.bias", "up.bias", "bn.shift", "bn.mean", "head.bias"):
        assert not after[name].any(), name
    for name in ("bn.scale", "bn.running_var"):
        assert (after[name] == 1).all(), name
    before = parameters(network)
    for name in ("slope", "layer_scale", "position", "instead"):
        np.testing.assert_array_equal(np.sort(after[name], None), np.sort(before[name], None))


@pytest.mark.parametrize(
    ("name", "fan_in"),
    [
        ("patch.weight", 3 * 4 * 4),
        ("up.weight", 4 * 3 * 3),  # 8 channels in two groups
        ("conv.weight", 2 * 3 * 3),
        ("right", PLACES),
        ("left", 6),
        ("head.weight", 35),
    ],
)
def test_weights_have_the_variance_of_he_et_al(name, fan_in):
    network = network_of(GRAPHS["variety"])
    drawn = np.concatenate(
        [randomized(network, [name], Drawing("he", seed))[name].ravel() for seed in range(100)]
    )
    # Of n squares of normal numbers the mean lies within 5 · sqrt(2 / n) of the variance.
    within = 5 * np.sqrt(2 / drawn.size)
    assert np.mean(drawn.astype(np.float64) ** 2) * fan_in / 2 == pytest.approx(1, abs=within)
    assert abs(drawn.mean()) < 5 * drawn.std() / np.sqrt(drawn.size)


def test_a_cascade_begins_with_the_head_and_adds_level_to_level(network):
    levels = find_levels(network.architecture)
    before, reached = parameters(network), set()
    for number, (level, random) in enumerate(
        zip(levels[::-1], cascade(network, levels, Drawing(), ALL), strict=True)
    ):
        assert random.layer == level.layer
        found = changed(before, parameters(random.network))
        reached |= set(level.parameters)
        assert found <= reached
        if not number:
            assert found
            assert all(name.startswith(("head", "dense", "output")) for name in found), found


def test_levels_by_themselves_leave_the_others_as_they_are(network):
    levels = find_levels(network.architecture)
    before = parameters(network)
    shares = 0.0
    for level, random in zip(
        levels[::-1], one_by_one(network, levels, Drawing(), ALL), strict=True
    ):
        assert random.layer == level.layer
        assert changed(before, parameters(random.network)) <= set(level.parameters)
        shares += random.share
    assert shares == pytest.approx(1)


def test_what_a_parameter_becomes_does_not_depend_on_the_others(network):
    levels = find_levels(network.architecture)
    *_, everything = cascade(network, levels, Drawing(), 3)
    together = parameters(everything.network)
    for level, random in zip(
        levels[::-1], one_by_one(network, levels, Drawing(), ALL), strict=True
    ):
        alone = parameters(random.network)
        for name in level.parameters:
            np.testing.assert_array_equal(alone[name], together[name])


@pytest.mark.needs("mxnet")
@pytest.mark.needs("torch")
@pytest.mark.parametrize("how", ["permute", "he"])
def test_random_parameters_are_the_same_on_every_engine(how):
    found = []
    for engine in ENGINES:
        network = network_of(GRAPHS["variety"], engine)
        *_, last = cascade(network, find_levels(network.architecture), Drawing(how), ALL)
        found.append(parameters(last.network))
    for other in found[1:]:
        assert not changed(found[0], other)


def test_another_seed_draws_other_numbers_and_the_same_one_the_same(network):
    names = [name for level in find_levels(network.architecture) for name in level.parameters]
    zero, again, one = (randomized(network, names, Drawing(seed=seed)) for seed in (0, 0, 1))
    assert not changed(zero, again)
    assert changed(zero, one)


@pytest.mark.parametrize("make", [cascade, one_by_one])
def test_one_random_network_is_there_at_a_time(make):
    network = network_of(GRAPHS["branching"])
    before: list[weakref.ref[Network]] = []
    for random in make(network, find_levels(network.architecture), Drawing(), ALL):
        assert all(gone() is None for gone in before[:-1])
        before.append(weakref.ref(random.network))
        del random
    assert len(before) == 6


def test_places_are_evenly_spaced_with_both_ends():
    assert spaced(6, 10) == (0, 1, 2, 3, 4, 5)
    assert spaced(26, 10) == (0, 3, 6, 8, 11, 14, 17, 19, 22, 25)
    assert spaced(26, 2) == (0, 25)
    assert spaced(26, 1) == (25,)
    assert spaced(1, 10) == (0,)


def test_a_network_without_parameters_is_refused():
    bare = sequential((2, 3, 3), relu(), flatten())
    with pytest.raises(UsageError, match="no parameters"):
        find_levels(bare.architecture)
