"""Shape rules against arithmetic by hand; where the conventions differ, against PyTorch's."""

from __future__ import annotations

import math

import pytest

from cnnviz.errors import NetworkError
from cnnviz.graph.graph import Graph, Node, Value, in_order
from cnnviz.graph.operators import (
    AdaptiveMaxPool2d,
    Add,
    AvgPool2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Expand,
    Flatten,
    Fold,
    GlobalAvgPool2d,
    Input,
    Linear,
    MatMul,
    Max,
    MaxPool2d,
    Min,
    Opaque,
    Pad,
    Parameter,
    ReLU,
    Resize2d,
    ShapeError,
    Softmax,
    Take,
    Unfold,
    Where,
)


@pytest.mark.parametrize(
    ("operator", "inputs", "shape"),
    [
        (Conv2d(64, (3, 3), padding=(1, 1, 1, 1)), [(3, 224, 224)], (64, 224, 224)),
        (Conv2d(64, (7, 7), (2, 2), (3, 3, 3, 3)), [(3, 224, 224)], (64, 112, 112)),
        (Conv2d(8, (3, 3), dilation=(2, 2)), [(4, 9, 10)], (8, 5, 6)),
        (Conv2d(8, (2, 2), padding=(0, 1, 1, 2)), [(4, 5, 5)], (8, 5, 7)),
        (Conv2d(8, (1, 7), padding=(0, 3, 0, 3), groups=4), [(4, 5, 5)], (8, 5, 5)),
        (ConvTranspose2d(2, (4, 4), (2, 2), (1, 1, 1, 1)), [(3, 7, 8)], (2, 14, 16)),
        (
            ConvTranspose2d(2, (3, 3), (2, 2), (1, 1, 1, 1), output_padding=(1, 1)),
            [(3, 7, 8)],
            (2, 14, 16),
        ),
        (MaxPool2d((2, 2), (2, 2)), [(4, 7, 8)], (4, 3, 4)),
        (MaxPool2d((2, 2), (2, 2), ceil_mode=True), [(4, 7, 8)], (4, 4, 4)),
        # The third window would start in the padding: PyTorch and ONNX have 2, MXNet has 3.
        (MaxPool2d((2, 2), (2, 2), (1, 1, 1, 1), True), [(1, 3, 3)], (1, 2, 2)),
        (AvgPool2d((3, 3), (2, 2), (0, 0, 0, 0), True), [(1, 14, 15)], (1, 7, 7)),
        (GlobalAvgPool2d(), [(5, 7, 9)], (5, 1, 1)),
        (Linear(10), [(5, 2, 3)], (10,)),
        (Linear(10, flatten=False), [(4, 6)], (4, 10)),
        (Flatten(), [(5, 2, 3)], (30,)),
        (Add(), [(5, 2, 3), (5, 1, 1)], (5, 2, 3)),
        (Add(), [(1, 2, 3), (2, 3)], (1, 2, 3)),
        (Add(), [(1, 1), (4, 2, 3)], (4, 2, 3)),
        (Concat(), [(5, 2, 3), (4, 2, 3)], (9, 2, 3)),
        (ReLU(6), [(5, 2, 3)], (5, 2, 3)),
        (MatMul(), [(2, 3), (3, 4)], (2, 4)),
        (MatMul(), [(5, 1, 2, 3), (6, 3, 4)], (5, 6, 2, 4)),
        (Where(), [(3,), (2, 1), (4, 1, 1)], (4, 2, 3)),
        (Softmax(1), [(5, 2, 3)], (5, 2, 3)),
        (Take(1, (1, 0, 1)), [(5, 2)], (5, 3)),
        (Expand((4, 5, 2)), [(5, 1)], (4, 5, 2)),
        (Max((1, 2)), [(5, 2, 3)], (5,)),
        (Min((0,), keep_axes=True), [(5, 2, 3)], (1, 2, 3)),
        (Pad(((0, 1), (2, 0)), "wrap"), [(5, 2)], (6, 4)),
        (Pad(((0, 0), (2, 2)), "reflect"), [(5, 3)], (5, 7)),
        (MaxPool2d((3, 2), (2, 1), dilation=(2, 3)), [(1, 9, 9)], (1, 3, 6)),
        (AdaptiveMaxPool2d((1, 7)), [(5, 2, 3)], (5, 1, 7)),
        (Resize2d((7, 1)), [(5, 2, 3)], (5, 7, 1)),
        (Unfold((3, 2), (2, 2), (1, 0, 1, 0)), [(5, 6, 8)], (30, 12)),
        (Fold((3, 2), (2, 2), (1, 0, 1, 0), size=(6, 8)), [(30, 12)], (5, 6, 8)),
        (Conv2d(8, (3, 3)), [(6, 4, 3, 9, 9), (8, 3, 3, 3)], (6, 4, 8, 7, 7)),
    ],
)
def test_shapes(operator, inputs, shape):
    assert operator.shape(*inputs) == shape
    assert operator.shapes(*inputs) == (shape,)


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        (Conv2d(8, (3, 3)), [(3, 2, 9)]),  # the kernel does not fit
        (Conv2d(8, (3, 3), groups=2), [(3, 9, 9)]),
        (Conv2d(8, (3, 3)), [(3, 9, 9), (8, 4, 3, 3)]),
        (Linear(10), [(5, 2, 3), (10, 29)]),
        (Add(), [(5, 2, 3), (5, 2, 4)]),
        (Concat(), [(5, 2, 3), (5, 2, 4)]),
        (MaxPool2d((2, 2)), [(7,)]),
        (MatMul(), [(2, 3), (4, 2)]),
        (MatMul(), [(3,), (3, 2)]),
        (MatMul(), [(2, 2, 3), (4, 3, 2)]),
        (Where(), [(3,), (2, 3), (2, 2)]),
        (Take(0, (0, 5)), [(5, 2)]),
        (Take(0, (-1,)), [(5, 2)]),
        (Expand((4, 5)), [(3, 5)]),
        (Expand((1, 5)), [(3, 5)]),
        (Pad(((0, 0), (3, 0)), "reflect"), [(5, 3)]),
        (Pad(((6, 0), (0, 0)), "wrap"), [(5, 3)]),
        (Pad(((-1, 0), (0, 0))), [(5, 3)]),
        (Pad(((1, 0),)), [(5, 3)]),
        (Unfold((3, 2)), [(30, 12)]),
        (Fold((3, 2), (3, 2), size=(6, 8)), [(30, 12)]),
        (Fold((3, 2), (3, 2), size=(6, 8)), [(31, 8)]),
    ],
)
def test_what_does_not_fit(operator, inputs):
    with pytest.raises(ShapeError):
        operator.shape(*inputs)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("size", range(3, 12))
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pooling_is_pytorchs(size, ceil_mode):
    import torch

    image = torch.zeros(1, 1, size, size + 1)
    for kernel in (2, 3):
        for stride in (1, 2, 3):
            for padding in range(kernel // 2 + 1):
                pads = (padding,) * 4
                operator = MaxPool2d((kernel,) * 2, (stride,) * 2, pads, ceil_mode)
                theirs = torch.nn.functional.max_pool2d(
                    image, kernel, stride, padding, ceil_mode=ceil_mode
                )
                assert operator.shape((1, size, size + 1)) == tuple(theirs.shape[1:])


@pytest.mark.parametrize(
    ("operator", "inputs", "count"),
    [
        (Conv2d(8, (3, 3), padding=(1, 1, 1, 1), groups=2), [(4, 5, 6)], 5 * 6 * 8 * 2 * 9),
        (ConvTranspose2d(6, (2, 2), (2, 2)), [(4, 5, 6)], 4 * 5 * 6 * 6 * 4),
        (Linear(10), [(5, 2, 3)], 10 * 30),
        (Linear(10, flatten=False), [(4, 6)], 4 * 10 * 6),
        (MatMul(), [(6, 2, 3), (3, 4)], 6 * 2 * 4 * 3),
        (ReLU(), [(5, 2, 3)], 0),
    ],
)
def test_multiply_adds(operator, inputs, count):
    assert operator.multiply_adds(operator.shape(*inputs), *inputs) == count


def small_graph() -> Graph:
    """Input, convolution, ReLU, and their sum."""
    return Graph(
        (
            Node(Input((2, 4, 4)), "data"),
            Node(Parameter((2, 2, 1, 1)), "weight"),
            Node(Conv2d(2, (1, 1)), "conv", (Value(0), Value(1))),
            Node(ReLU(), "relu", (Value(2),)),
            Node(Add(), "sum", (Value(3), Value(0))),
        ),
        Value(4),
    )


def test_a_graph_knows_its_shapes_layers_and_readers():
    graph = small_graph()
    assert graph.input == Value(0)
    assert graph.input_size == (2, 4, 4)
    assert graph.shapes == (((2, 4, 4),), ((2, 2, 1, 1),), *[((2, 4, 4),)] * 3)
    assert graph.layers == (2, 3, 4)
    assert graph.parameters == {"weight": (2, 2, 1, 1)}
    assert graph.consumers[Value(0)] == (2, 4)
    assert Value(4) not in graph.consumers


@pytest.mark.parametrize(
    ("size", "stored", "shape"),
    [
        ((5, 2, 3), (1, 5, 1, 1), (5, 2, 3)),  # a place for the batch
        ((1, 2, 3), (2, 3), (1, 2, 3)),  # an axis of size 1 of the images' own
        ((1, 2, 3), (1, 1, 2, 3), (1, 2, 3)),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_a_constant_has_the_batch_or_lacks_it(size, stored, shape, first):
    inputs = (Value(first), Value(1 - first))
    nodes = (Node(Input(size), "data"), Node(Parameter(stored), "p"), Node(Add(), "sum", inputs))
    assert Graph(nodes, Value(2)).shape(Value(2)) == shape


def test_a_shape_that_does_not_fit_is_said_with_its_node():
    nodes = list(small_graph().nodes)
    nodes[1] = Node(Parameter((2, 3, 1, 1)), "weight")
    with pytest.raises(NetworkError, match=r"2×4×4.*\(2, 2, 1, 1\).*\(Convolution conv\)"):
        assert Graph(tuple(nodes), Value(4)).shapes


def test_nodes_are_put_in_order_and_what_is_not_needed_goes():
    nodes = (
        *small_graph().nodes[:4],
        Node(Flatten(), "unused", (Value(0),)),
        Node(Add(), "sum", (Value(3), Value(0))),
    )
    graph, moved = in_order(nodes, Value(5))
    assert [node.name for node in graph.nodes] == ["data", "weight", "conv", "relu", "sum"]
    assert graph.nodes[4].inputs == (Value(3), Value(0))
    assert moved == {0: 0, 1: 1, 2: 2, 3: 3, 5: 4}


def test_an_opaque_operator_is_what_its_importer_found():
    operator = Opaque("mxnet", "split", {"num_outputs": "2"}, ((1, 4, 4), (1, 4, 4)))
    assert operator.kind == "split"
    assert operator.shapes((2, 4, 4)) == ((1, 4, 4), (1, 4, 4))


def test_a_clipped_relu_is_called_so():
    assert ReLU().kind == "ReLU"
    assert ReLU(6).kind == "ReLU6"
    assert math.isinf(ReLU().upper)
