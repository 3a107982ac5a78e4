"""Which layers of transformers and token mixers hold maps, which is explained by default, stages.

The networks are written operator by operator (``tests/support/transformers.py``).
"""

from __future__ import annotations

import pytest

from cnnviz.graph.architecture import Architecture
from cnnviz.graph.layout import Layout
from cnnviz.graph.operators import (
    Add,
    Concat,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MatMul,
    MaxPool2d,
    Mean,
    Pad,
    Reshape,
    Slice,
    Softmax,
    Take,
    Transpose,
)
from cnnviz.graph.regions import Region
from tests.support.transformers import Writer, mixer, swin, vision_transformer


def architecture(graph):
    return Architecture(graph, {})


@pytest.mark.parametrize("prefix", [1, 2, 5])
def test_tokens_behind_a_class_token_and_others_are_places(prefix):
    found = architecture(vision_transformer(prefix=prefix))
    layer = found.layer("block1.norm1")
    assert layer.shape == (prefix + 12, 8)
    assert layer.layout == Layout(8, 3, 4, channel_axis=1, as_tokens=True, before=prefix)
    assert layer.map_shape == (8, 3, 4)
    assert found.region(layer) == Region()


def test_what_a_class_token_is_read_from_is_explained_before_the_last_attention():
    """Behind it the other tokens' gradients are zero; the last block's first norm reads this."""
    found = architecture(vision_transformer(depth=3))
    graph = found.graph
    norm = next(node for node in graph.nodes if node.name == "block2.norm1")
    assert found.default_layer.name == "block1"
    assert norm.inputs[0] == found.default_layer.value
    assert found.stages() == (found.default_layer,)


@pytest.mark.parametrize("prefix", [0, 1])
def test_what_a_mean_over_tokens_is_read_from_is_the_last_join(prefix):
    found = architecture(vision_transformer(pool="mean", prefix=prefix))
    assert found.default_layer.name == "block1"
    assert found.default_layer.map_shape == (8, 3, 4)


def test_a_single_block_with_a_class_token_is_explained_at_its_patches():
    assert architecture(vision_transformer(depth=1)).default_layer.name == "patch"


def test_inside_attention_nothing_is_a_map():
    found = architecture(vision_transformer())
    inside = [layer for layer in found.layers if layer.kind in ("MatMul", "Softmax", "Split")]
    assert len(inside) == 8
    assert not any(layer.is_spatial for layer in inside)


def test_a_mixer_keeps_its_places_where_tokens_are_mixed():
    found = architecture(mixer())
    assert found.default_layer.name == "block1"
    names = [layer.name for layer in found.layers if layer.is_spatial]
    assert {"tokens", "block0.norm1", "block0.mixed", "block0.channels.fc1", "norm"} <= set(names)
    assert not {"block0.tokens.fc1", "block0.tokens.fc2"} & set(names)


def test_swin_has_stages_of_channels_last_and_its_windows_are_no_maps():
    found = architecture(swin())
    assert [layer.name for layer in found.stages()] == ["stage0.1", "stage1.0"]
    assert [layer.map_shape for layer in found.stages()] == [(8, 6, 8), (16, 3, 4)]
    assert found.default_layer.layout == Layout(16, 3, 4, channel_axis=2)
    whole = [layer for layer in found.layers if layer.kind not in ("Slice", "Split")]
    assert all(found.region(layer) == Region() for layer in whole)
    assert not found.find("stage0.1.qkv").is_spatial
    assert found.find("merge").map_shape == (16, 3, 4)


def test_what_a_list_says_of_tokens_has_the_size_of_their_maps():
    found = architecture(vision_transformer(prefix=1))
    assert found.layer("block1.norm1").shape_title == "13×8, maps of 3×4"
    assert found.layer("patch").shape_title == "8×3×4"
    assert architecture(swin()).layer("stage1.0").shape_title == "3×4×16"
    assert found.layers[-1].shape_title == str(found.layers[-1].shape[0])


def test_windows_that_hold_whole_blocks_are_explained_where_they_are_put_together():
    """As NesT and MaxViT do: residual branches, too, stay within the windows."""
    w = Writer((3, 24, 32))
    maps = w.permuted(w.patches(), 1, 2, 0)
    apart = w.permuted(w.reshaped(maps, 2, 3, 2, 4, 8), 0, 2, 1, 3, 4)
    data = w.block(w.reshaped(apart, 4, 12, 8), "block0")
    back = w.permuted(w.reshaped(data, 2, 2, 3, 4, 8), 0, 2, 1, 3, 4)
    together = w.add(Reshape((6, 8, 8)), back, name="together")
    found = architecture(
        w.finish(w.linear(w.add(Mean((0, 1)), w.norm(together, "norm")), 5, "head"))
    )
    assert not found.find("block0").is_spatial
    assert found.default_layer.name == "together"
    assert found.default_layer.layout == Layout(8, 6, 8, channel_axis=2)


def test_windows_that_are_pooled_lie_as_the_pooled_maps_do():
    """As Hiera pools its queries within windows, and what leads past them as a whole."""
    w = Writer((3, 48, 64))
    maps = w.patches()
    pool = MaxPool2d((2, 2), (2, 2))
    apart = w.permuted(w.reshaped(maps, 8, 3, 4, 4, 4), 1, 3, 0, 2, 4)
    pooled = w.add(pool, w.reshaped(apart, 96, 4, 4), name="pooled")
    back = w.permuted(w.reshaped(pooled, 3, 4, 8, 2, 2), 2, 0, 3, 1, 4)
    both = w.add(Add(), w.add(pool, maps), w.reshaped(back, 8, 6, 8), name="both")
    found = architecture(w.finish(w.linear(w.add(GlobalAvgPool2d(), both), 5, "head")))
    assert not found.find("pooled").is_spatial
    assert found.default_layer.name == "both"
    assert found.default_layer.layout == Layout(8, 6, 8)


def test_windows_that_a_coarser_map_asks_lie_where_they_are():
    """As GC ViT's do: each place of a window answers one of a map of the whole image."""
    w = Writer((3, 24, 32))
    maps = w.patches()
    query = w.reshaped(w.tokens(w.add(MaxPool2d((2, 2), (2, 2)), maps)), 1, 12, 8)
    queries = w.add(Concat(0), *[query] * 4)
    last = w.permuted(maps, 1, 2, 0)
    apart = w.permuted(w.reshaped(last, 2, 3, 2, 4, 8), 0, 2, 1, 3, 4)
    windows = w.reshaped(apart, 4, 12, 8)
    weights = w.add(Softmax(), w.add(MatMul(), queries, w.permuted(windows, 0, 2, 1)))
    answers = w.reshaped(w.add(MatMul(), weights, windows), 2, 2, 3, 4, 8)
    back = w.reshaped(w.permuted(answers, 0, 2, 1, 3, 4), 6, 8, 8)
    both = w.add(Add(), last, back, name="both")
    found = architecture(w.finish(w.linear(w.add(Mean((0, 1)), both), 5, "head")))
    assert found.default_layer.name == "both"
    assert found.default_layer.layout == Layout(8, 6, 8, channel_axis=2)


# --- what single operators do to the axes, behind (8, 3, 4) patches ------------------------------


def layout_behind(*operators):
    """How what the operators give holds maps; (2, 8) constants stand before what is joined."""
    w = Writer()
    value = w.patches()
    for number, operator in enumerate(operators):
        if isinstance(operator, Concat):
            constant = w.parameter(f"constant{number}", 2, *w.shape(value)[1:])
            value = w.add(operator, constant, value)
        elif isinstance(operator, Linear):
            weight = w.parameter(f"weight{number}", operator.features, w.shape(value)[-1])
            value = w.add(operator, value, weight)
        else:
            value = w.add(operator, value)
    last = w.linear(w.add(Flatten(), value), 5, "head")
    return architecture(w.finish(last)).layouts.get(value)


TOKENS = (Reshape((8, 12)), Transpose((1, 0)))


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        ((), Layout(8, 3, 4)),
        ((Transpose((1, 2, 0)),), Layout(8, 3, 4, 2)),
        ((Transpose((2, 1, 0)),), None),  # columns before rows
        ((Reshape((8, 12)),), Layout(8, 3, 4, 0, as_tokens=True)),
        (TOKENS, Layout(8, 3, 4, 1, as_tokens=True)),
        ((Reshape((12, 8)),), None),  # the same shape, but channels were not moved
        ((Transpose((2, 1, 0)), Reshape((12, 8))), None),
        ((*TOKENS, Reshape((3, 4, 8))), Layout(8, 3, 4, 2)),
        # Cut across rows: nothing speaks for it but its shape.
        ((*TOKENS, Reshape((4, 3, 8))), Layout(4, 3, 8, known=False)),
        ((*TOKENS, Transpose((1, 0)), Reshape((8, 3, 4))), Layout(8, 3, 4)),
        ((*TOKENS, Concat(0)), Layout(8, 3, 4, 1, as_tokens=True, before=2)),
        (
            (*TOKENS, Concat(0), Slice((1, 0), (14, 8), (1, 1))),
            Layout(8, 3, 4, 1, as_tokens=True, before=1),
        ),
        (
            (*TOKENS, Concat(0), Take(0, tuple(range(2, 14)))),
            Layout(8, 3, 4, 1, as_tokens=True),
        ),
        ((*TOKENS, Concat(0), Slice((0, 0), (2, 8), (1, 1))), None),
        ((*TOKENS, Concat(0), Slice((3, 0), (14, 8), (1, 1))), None),
        ((*TOKENS, Concat(0), Reshape((7, 16))), None),
        ((*TOKENS, Take(0, tuple(reversed(range(12))))), None),
        ((*TOKENS, Linear(6, flatten=False)), Layout(6, 3, 4, 1, as_tokens=True)),
        ((Reshape((8, 12)), Linear(12, flatten=False)), None),  # 12 mixtures of tokens
        ((*TOKENS, Mean((0,))), None),
        ((Mean((1, 2), keep_axes=True),), None),
        ((GlobalAvgPool2d(),), None),
        (
            (
                Transpose((1, 2, 0)),
                Pad(((0, 3), (0, 4), (0, 0))),
                Slice((0,) * 3, (3, 4, 8), (1,) * 3),
            ),
            Layout(8, 3, 4, 2),
        ),
        # Every second column beside the other channels: each place stays one place.
        (
            (Reshape((8, 3, 2, 2)), Transpose((3, 0, 1, 2)), Reshape((16, 3, 2))),
            Layout(16, 3, 2),
        ),
        # Taken apart in other parts than they were put together from.
        (
            (Reshape((8, 3, 2, 2)), Reshape((8, 12)), Reshape((8, 3, 4))),
            Layout(8, 3, 4),
        ),
        # Columns in windows, then in strides, as MaxViT has them.
        (
            (Reshape((4, 2, 3, 4)), Reshape((2, 4, 3, 2, 2)), Reshape((8, 3, 4))),
            Layout(8, 3, 4),
        ),
        # Halves beside the other channels: a place is several places in the image.
        (
            (Reshape((8, 3, 2, 2)), Transpose((2, 0, 1, 3)), Reshape((16, 3, 2))),
            None,
        ),
    ],
)
def test_layouts_follow_from_operators_and_not_from_numbers(operators, expected):
    assert layout_behind(*operators) == expected


def test_tokens_that_lie_behind_the_places_are_counted_apart():
    w = Writer()
    data = w.tokens(w.patches())
    both = w.add(Concat(0), data, w.parameter("registers", 3, 8))
    mixed = w.add(Add(), both, w.parameter("position", 15, 8))
    found = architecture(w.finish(w.linear(w.add(Flatten(), mixed), 5, "head")))
    assert found.layouts[mixed] == Layout(8, 3, 4, 1, as_tokens=True, after=3)
    assert found.layouts[mixed].places == slice(0, 12)


def test_a_class_token_that_attends_in_the_end_leaves_the_last_join():
    """As CaiT does: the class token enters late, and alone reads the places."""
    w = Writer()
    data = w.block(w.tokens(w.patches()), "block0")
    both = w.add(Concat(0), w.parameter("class", 1, 8), data, name="both")
    attended = w.attention(w.norm(both, "norm1"), "last")
    token = w.add(Take(0, (0,)), attended)
    found = architecture(w.finish(w.linear(w.reshaped(token, 8), 5, "head")))
    assert found.default_layer.name == "block0"
    assert found.layer("both").layout.before == 1


def test_towers_that_meet_in_class_tokens_are_explained_where_the_last_one_reads_places():
    """As CrossViT does: each tower's class token attends to the other's places; then it is read."""
    w = Writer()
    towers = []
    for name in ("left", "right"):
        data = w.tokens(w.patches(name))
        data = w.add(Concat(0), w.parameter(f"{name}.class", 1, 8), data)
        towers.append(w.block(data, f"{name}.block"))
    left, right = towers
    places = Slice((1, 0), (13, 8), (1, 1))
    token = w.add(Take(0, (0,)), left)
    both = w.add(Concat(0), token, w.add(places, right), name="both")
    token = w.add(Take(0, (0,)), w.attention(w.norm(both, "norm1"), "fusion"))
    back = w.add(Concat(0), token, w.add(places, left), name="back")
    token = w.add(Take(0, (0,)), w.norm(back, "norm"))
    found = architecture(w.finish(w.linear(w.reshaped(token, 8), 5, "head")))
    assert found.layer("back").layout.before == 1
    assert found.default_layer.name == "both"
