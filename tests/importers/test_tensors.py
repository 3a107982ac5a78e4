"""Programs of tensors as graphs: whatever the program does to one image, the graph does to each."""

import numpy as np
import pytest

from cnnviz.engines.base import Device
from cnnviz.engines.registry import build_engine, installed, lack
from cnnviz.errors import NetworkError
from cnnviz.graph.operators import (
    Add,
    Affine,
    Conv2d,
    Divide,
    GlobalAvgPool2d,
    Linear,
    Multiply,
    ReLU,
    Reshape,
    Subtract,
    Take,
    Transpose,
)
from cnnviz.importers import tensor_arithmetic, tensors
from cnnviz.importers import tensor_layers as layers
from cnnviz.importers import tensor_products as products
from cnnviz.importers import tensor_shapes as shapes
from cnnviz.importers.tensors import Constant, TensorGraph

SIZE = (3, 4, 6)
RNG = np.random.default_rng(5)
BATCH = RNG.standard_normal((2, *SIZE)).astype(np.float32)


def run(build, batch=BATCH):
    """What each engine makes of a batch by the graph of a program, and the graph's operators."""
    graph = TensorGraph(batch.shape[1:])
    output = build(graph, graph.images)
    program = graph.finish(output)
    found = {}
    for name in installed():
        if not lack(name, program.graph):
            engine = build_engine(program.graph, program.parameters, Device("cpu"), name)
            rows = engine.run(batch, record=False).output
            found[name] = rows.reshape(len(batch), *output.shape)
    assert found
    kinds = [type(node.operator) for node in program.graph.nodes]
    return found, kinds


def expected(program, batch=BATCH):
    """What NumPy makes of each image, as a batch of one."""
    return np.stack([program(image[None]) for image in batch])


# float32 in sums of at most some hundred numbers near 1.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def numbers(*size):
    return Constant(RNG.standard_normal(size).astype(np.float32))


def check(build, program, batch=BATCH):
    found, kinds = run(build, batch)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected(program, batch), err_msg=name, **TOLERANCE)
    return kinds


def test_a_layout_and_its_undoing_vanish():
    def build(g, x):
        last = tensors.transpose(g, x, (0, 2, 3, 1))
        return tensor_arithmetic.unary(g, ReLU(), tensors.transpose(g, last, (0, 3, 1, 2)))

    kinds = check(build, lambda x: np.maximum(x, 0))
    assert Transpose not in kinds


def test_axes_of_one_place_change_without_a_step():
    def build(g, x):
        mean = shapes.reduced(g, x, "mean", (2, 3), keep_axes=True)
        return tensors.transpose(g, mean, (0, 2, 3, 1))

    kinds = check(build, lambda x: x.mean((2, 3), keepdims=True).transpose(0, 2, 3, 1))
    assert Transpose not in kinds
    assert GlobalAvgPool2d in kinds


def test_reshapes_in_a_row_are_one():
    def build(g, x):
        one = tensors.reshape(g, x, (1, 12, -1))
        two = tensors.reshape(g, one, (-1, 4))
        return tensors.reshape(g, two, (1, 72))

    kinds = check(build, lambda x: x.reshape(1, 72))
    assert Reshape not in kinds


def test_windows_merge_with_the_batch_and_leave_it_again():
    def windows(x, reshape, transpose):
        apart = transpose(reshape(x, (1, 3, 2, 2, 2, 3)), (0, 2, 4, 3, 5, 1))
        return reshape(apart, (4, 6, 3))

    def whole(x, reshape, transpose):
        apart = transpose(reshape(x, (1, 2, 2, 2, 3, 3)), (0, 5, 1, 3, 2, 4))
        return reshape(apart, (1, 3, 4, 6))

    def program(x):
        inside = windows(x, np.reshape, np.transpose)
        centered = inside - inside.mean(1, keepdims=True)
        return whole(centered, np.reshape, np.transpose)

    def build(g, x):
        def reshape(value, size):
            return tensors.reshape(g, value, size)

        def transpose(value, axes):
            return tensors.transpose(g, value, axes)

        inside = windows(x, reshape, transpose)
        mean = shapes.reduced(g, inside, "mean", (1,), keep_axes=True)
        return whole(tensor_arithmetic.arithmetic(g, Subtract, inside, mean), reshape, transpose)

    check(build, program)


@pytest.mark.needs("torch")
def test_attention_with_heads_in_the_batch():
    weights = [numbers(6, 6) for _ in range(3)]

    def heads(x, weight):
        return (x @ weight.array).reshape(12, 2, 3).transpose(1, 0, 2)

    def program(x):
        rows = x.reshape(1, 6, 12).transpose(2, 0, 1)[:, 0]
        q, k, v = (heads(rows, weight) for weight in weights)
        scores = q @ k.transpose(0, 2, 1) * 0.5
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return (powers / powers.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(12, 1, 6)

    def build(g, x):
        rows = tensors.transpose(g, tensors.reshape(g, x, (1, 6, 12)), (2, 0, 1))
        q, k, v = (
            tensors.transpose(
                g, tensors.reshape(g, products.matmul(g, rows, weight), (12, 2, 3)), (1, 0, 2)
            )
            for weight in weights
        )
        scores = products.matmul(g, q, tensors.transpose(g, k, (0, 2, 1)))
        scores = tensor_arithmetic.arithmetic(g, Multiply, scores, Constant(np.float32(0.5)))
        mixed = products.matmul(g, shapes.softmax(g, scores, -1), v)
        return tensors.reshape(g, tensors.transpose(g, mixed, (1, 0, 2)), (12, 1, 6))

    check(build, program)


@pytest.mark.parametrize(
    ("kind", "function"),
    [(Add, np.add), (Subtract, np.subtract), (Multiply, np.multiply), (Divide, np.divide)],
)
@pytest.mark.parametrize("size", [(), (1,), (6,), (3, 1, 1), (1, 3, 1, 1), (1, 1, 4, 6)])
@pytest.mark.parametrize("left", [False, True])
def test_arithmetic_with_what_is_stored(kind, function, size, left):
    batch = np.abs(BATCH) + 1
    stored = Constant(np.abs(numbers(*size).array) + 1)

    def build(g, x):
        operands = (stored, x) if left else (x, stored)
        return tensor_arithmetic.arithmetic(g, kind, *operands)

    def program(x):
        return function(stored.array, x) if left else function(x, stored.array)

    kinds = check(build, program, batch)
    if stored.array.size == 1 and not (left and kind is Divide):
        assert Affine in kinds


def test_what_is_computed_of_the_image_gates_it():
    def build(g, x):
        gate = shapes.reduced(g, x, "mean", (2, 3), keep_axes=False)
        return tensor_arithmetic.arithmetic(g, Multiply, x, shapes.unsqueezed(g, gate, (-1, -2)))

    check(build, lambda x: x * x.mean((2, 3))[:, :, None, None])


@pytest.mark.needs("torch")
def test_a_class_token_stands_before_the_others():
    token = numbers(1, 1, 3)

    def program(x):
        rows = x.reshape(1, 3, 24).transpose(0, 2, 1)
        return np.concatenate([token.array, rows], 1)

    def build(g, x):
        rows = tensors.transpose(g, tensors.reshape(g, x, (1, 3, 24)), (0, 2, 1))
        return shapes.concat(g, [token, rows], 1)

    check(build, program)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_cutting_and_joining(axis):
    def build(g, x):
        first, second = shapes.split(g, x, axis, (1, x.shape[axis] - 1))
        turned = shapes.concat(g, [second, first], axis)
        return shapes.sliced(g, turned, axis, 0, -1, 2)

    def program(x):
        turned = np.roll(x, -1, axis)
        return turned[(slice(None),) * (axis % 4) + (slice(0, -1, 2),)]

    check(build, program)


def test_rolled_as_numpy_rolls():
    check(
        lambda g, x: shapes.rolled(g, x, (-1, 4), (2, 3)),
        lambda x: np.roll(x, (-1, 4), (2, 3)),
    )


@pytest.mark.needs("torch")
def test_gathered_as_numpy_takes():
    indices = np.array([[2, 0], [1, -1]])
    check(lambda g, x: shapes.gathered(g, x, 1, indices), lambda x: np.take(x, indices, 1))


def test_windows_that_touch_are_gathered_without_picking():
    """As unfolding does it; so what follows still knows where they lie in the image."""
    batch = RNG.standard_normal((2, 3, 6, 4)).astype(np.float32)
    indices = np.array([[0, 3], [1, 4], [2, 5]])
    kinds = check(
        lambda g, x: shapes.gathered(g, x, 2, indices), lambda x: np.take(x, indices, 2), batch
    )
    assert Take not in kinds


@pytest.mark.parametrize("columns_first", [False, True])
def test_depth_to_space(columns_first):
    batch = RNG.standard_normal((2, 8, 2, 3)).astype(np.float32)

    def program(x):
        # ONNX's definitions of DepthToSpace, in modes CRD and DCR.
        if columns_first:
            apart = x.reshape(1, 2, 2, 2, 2, 3).transpose(0, 1, 4, 2, 5, 3)
        else:
            apart = x.reshape(1, 2, 2, 2, 2, 3).transpose(0, 3, 4, 1, 5, 2)
        return apart.reshape(1, 2, 4, 6)

    check(lambda g, x: shapes.depth_to_space(g, x, 2, columns_first=columns_first), program, batch)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_padded_as_numpy_pads(mode):
    pads = ((0, 0), (0, 0), (1, 2), (2, 0))
    check(lambda g, x: shapes.padded(g, x, pads, mode), lambda x: np.pad(x, pads, mode))


def test_negative_pads_cut_off():
    check(
        lambda g, x: shapes.padded(g, x, ((0, 0), (0, 0), (-1, 1), (0, -2))),
        lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0)))[:, :, 1:, :-2],
    )


def test_a_dense_layer_over_the_last_axis_only():
    weight, bias = numbers(5, 6), numbers(5)
    kinds = check(
        lambda g, x: products.linear(g, x, weight, bias),
        lambda x: x @ weight.array.T + bias.array,
    )
    assert Linear in kinds


def test_normalized_over_channels_that_stand_last():
    scale, shift = numbers(3), numbers(3)

    def program(x):
        last = x.transpose(0, 2, 3, 1)
        centered = last - last.mean(-1, keepdims=True)
        return centered / np.sqrt(last.var(-1, keepdims=True) + 1e-5) * scale.array + shift.array

    def build(g, x):
        return layers.layer_norm(g, tensors.transpose(g, x, (0, 2, 3, 1)), 1, scale, shift)

    check(build, program)


def test_a_convolution_of_one_dimension():
    weight = numbers(2, 3, 3)

    def program(x):
        row = np.pad(x[:, :, 0], ((0, 0), (0, 0), (1, 1)))
        windows = np.stack([row[..., place : place + 6] for place in range(3)], -1)
        return np.einsum("bclk,ock->bol", windows, weight.array)

    def build(g, x):
        row = shapes.squeezed(g, shapes.sliced(g, x, 2, 0, 1), (2,))
        window = layers.Window(padding=(0, 1, 0, 1))
        return layers.convolution(g, row, weight, None, window)

    check(build, program)


def windows(g, x):
    """(4, 3, 2, 3) of (1, 3, 4, 6), as a program brings windows into the batch."""
    apart = tensors.reshape(g, x, (1, 3, 2, 2, 2, 3))
    return tensors.reshape(g, tensors.transpose(g, apart, (0, 2, 4, 1, 3, 5)), (4, 3, 2, 3))


def windows_of(x):
    return x.reshape(3, 2, 2, 2, 3).transpose(1, 3, 0, 2, 4).reshape(4, 3, 2, 3)


def test_a_convolution_sees_windows_one_by_one():
    weight, bias = numbers(2, 3, 1, 3), numbers(2)

    def program(x):
        padded = np.pad(windows_of(x), ((0, 0), (0, 0), (0, 0), (1, 1)))
        near = np.stack([padded[..., place : place + 3] for place in range(3)], -1)
        return np.einsum("nchwk,ock->nohw", near, weight.array[:, :, 0]) + bias.array[:, None, None]

    def build(g, x):
        window = layers.Window(padding=(0, 1, 0, 1))
        return layers.convolution(g, windows(g, x), weight, bias, window)

    kinds = check(build, program)
    assert kinds.count(Conv2d) == 1


@pytest.mark.needs("torch")  # MXNet pads both ends alike
def test_pooling_sees_windows_one_by_one():
    def build(g, x):
        return layers.max_pool(g, windows(g, x), (2, 2), layers.Window(padding=(0, 0, 0, 1)))

    def program(x):
        padded = np.pad(windows_of(x), ((0, 0),) * 3 + ((0, 1),), constant_values=-np.inf)
        return np.stack([padded[..., place : place + 2].max((2, 3)) for place in range(3)], -1)[
            :, :, None
        ]

    check(build, program)


@pytest.mark.needs("torch")
def test_channels_of_windows_are_normalized_one_by_one():
    scale, shift = numbers(3), numbers(3)

    def program(x):
        parts = windows_of(x).reshape(4, 3, 6)
        centered = parts - parts.mean(2, keepdims=True)
        unit = centered / np.sqrt(parts.var(2, keepdims=True) + 1e-5)
        return unit * scale.array[:, None] + shift.array[:, None]

    def build(g, x):
        rows = tensors.reshape(g, windows(g, x), (4, 3, 6))
        return layers.group_norm(g, rows, 3, scale, shift)

    check(build, program)


def test_what_takes_one_image_refuses_windows():
    graph = TensorGraph(SIZE)
    with pytest.raises(NetworkError, match="works on 4 parts of an image as on a batch"):
        tensors.omitting(graph, windows(graph, graph.images), 0)


def test_a_parameter_is_stored_once():
    shared = numbers(3, 3, 1, 1)
    graph = TensorGraph(SIZE)
    once = layers.convolution(graph, graph.images, shared)
    program = graph.finish(layers.convolution(graph, once, shared))
    assert len(program.parameters) == 1


def test_names_are_unique_and_follow_their_values():
    graph = TensorGraph(SIZE)
    x = graph.images
    for _ in range(2):
        with graph.scope("relu"):
            x = tensor_arithmetic.unary(graph, ReLU(), x)
        graph.call(x, "features.relu")
    program = graph.finish(x)
    assert [node.name for node in program.graph.nodes] == ["data", "relu", "relu.1"]
    assert list(program.paths.values()) == [("features.relu",), ("features.relu",)]


def test_what_cannot_be_is_a_sentence():
    graph = TensorGraph(SIZE)
    with pytest.raises(NetworkError, match="does not fit into"):
        tensors.reshape(graph, graph.images, (1, 5, -1))
    with pytest.raises(NetworkError, match="has no axis 4"):
        shapes.softmax(graph, graph.images, 4)
    with pytest.raises(NetworkError, match="cannot be stretched"):
        tensor_arithmetic.arithmetic(graph, Add, graph.images, numbers(5))
    stored = tensors.Tensor(graph.parameter(numbers(3)), (3,), None)
    with pytest.raises(NetworkError, match="does not depend on the images"):
        graph.finish(stored)
