"""What exporters spell out, as the operators that are meant; the numbers are ONNX's reference's."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.graph.operators import (
    GELU,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    Mish,
    ReLU,
    SiLU,
    Softsign,
)
from tests.support.onnx_files import computed, converted, model_of, node, reference

pytestmark = pytest.mark.needs("onnx")

RNG = np.random.default_rng(5)
NUMBERS = {
    "half": np.float32(0.5),
    "one": np.float32(1),
    "zero": np.float32(0),
    "three": np.float32(3),
    "six": np.float32(6),
    "root2": np.float32(np.sqrt(2)),
    "tanh_scale": np.float32(np.sqrt(2 / np.pi)),
    "cube": np.float32(0.044715),
    "tenth": np.float32(0.1),
    "almost": np.float32(1.702),
}
SHIFTED = [node("Add", "x three", "a"), node("Clip", "a zero six", "c")]

FORMULAS = {
    "SiLU": (SiLU(), [node("Sigmoid", "x", "s"), node("Mul", "x s")]),
    "SiLU, the other way round": (SiLU(), [node("Sigmoid", "x", "s"), node("Mul", "s x")]),
    "hard swish of a hard sigmoid": (
        HardSwish(),
        [node("HardSigmoid", "x", "s", alpha=1 / 6, beta=0.5), node("Mul", "x s")],
    ),
    "hard swish of a clip": (
        HardSwish(),
        [*SHIFTED, node("Mul", "x c", "m"), node("Div", "m six")],
    ),
    "hard sigmoid": (HardSigmoid(1 / 6, 0.5), [*SHIFTED, node("Div", "c six")]),
    "GELU": (
        GELU(),
        [
            node("Div", "x root2", "d"),
            node("Erf", "d", "e"),
            node("Add", "e one", "p"),
            node("Mul", "x p", "m"),
            node("Mul", "m half"),
        ],
    ),
    "GELU by tanh": (
        GELU(approximate=True),
        [
            node("Pow", "x three", "x3"),
            node("Mul", "x3 cube", "c"),
            node("Add", "x c", "s"),
            node("Mul", "s tanh_scale", "t"),
            node("Tanh", "t", "h"),
            node("Add", "h one", "p"),
            node("Mul", "x half", "m"),
            node("Mul", "m p"),
        ],
    ),
    "Mish": (Mish(), [node("Softplus", "x", "s"), node("Tanh", "s", "t"), node("Mul", "x t")]),
    "softsign": (
        Softsign(),
        [node("Abs", "x", "a"), node("Add", "a one", "p"), node("Div", "x p")],
    ),
    "leaky ReLU": (
        LeakyReLU(float(np.float32(0.1))),
        [node("Mul", "x tenth", "m"), node("Max", "x m")],
    ),
    "ReLU as a maximum": (ReLU(), [node("Max", "x zero")]),
    "ReLU6 as a clip": (ReLU(6.0), [node("Clip", "x zero six")]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_becomes_the_activation(name, tmp_path):
    operator, nodes = FORMULAS[name]
    model = model_of(nodes, stored=NUMBERS)
    program = converted(model, tmp_path)
    graph = program.program.graph
    assert [graph.nodes[index].operator for index in graph.layers] == [operator]
    x = 8 * RNG.uniform(-1, 1, (1, 3, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(computed(program, x), reference(model, x), rtol=2e-5, atol=2e-6)


def test_a_formula_of_something_computed(tmp_path):
    """Where the formula begins is found, though more of the same kind stands before it."""
    nodes = [node("Mul", "x tenth", "m"), node("Sigmoid", "m", "s"), node("Mul", "m s")]
    program = converted(model_of(nodes, stored=NUMBERS), tmp_path)
    graph = program.program.graph
    assert [graph.nodes[index].operator.kind for index in graph.layers] == ["Affine", "SiLU"]


def test_what_only_looks_like_an_activation_stays(tmp_path):
    nodes = [node("Mul", "x almost", "m"), node("Sigmoid", "m", "s"), node("Mul", "x s")]
    program = converted(model_of(nodes, stored=NUMBERS), tmp_path)
    kinds = [one.operator.kind for one in program.program.graph.nodes]
    assert kinds == ["Input", "Affine", "Sigmoid", "Multiply"]


def test_a_value_inside_that_others_read_stays(tmp_path):
    nodes = [node("Sigmoid", "x", "s"), node("Mul", "x s", "m"), node("Add", "m s")]
    model = model_of(nodes, stored=NUMBERS)
    program = converted(model, tmp_path)
    x = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)
    assert {one.operator.kind for one in program.program.graph.nodes} >= {"Sigmoid", "SiLU"}
    np.testing.assert_allclose(computed(program, x), reference(model, x), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("square", ["Pow", "Mul"])
def test_a_layer_norm_in_nine_operators(square, tmp_path):
    nodes = [
        node("ReduceMean", "x", "mean", axes=[-1]),
        node("Sub", "x mean", "d"),
        node(square, "d two" if square == "Pow" else "d d", "q"),
        node("ReduceMean", "q", "v", axes=[-1]),
        node("Add", "v eps", "safe"),
        node("Sqrt", "safe", "root"),
        node("Div", "d root", "n"),
        node("Mul", "n scale", "m"),
        node("Add", "m shift"),
    ]
    stored = {
        "two": np.float32(2),
        "eps": np.float32(1e-3),
        "scale": RNG.normal(size=6).astype(np.float32),
        "shift": RNG.normal(size=6).astype(np.float32),
    }
    model = model_of(nodes, stored=stored)
    program = converted(model, tmp_path)
    graph = program.program.graph
    assert [graph.nodes[index].operator.kind for index in graph.layers] == ["LayerNorm"]
    assert set(graph.parameters) == {"scale", "shift"}
    x = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(computed(program, x), reference(model, x), rtol=1e-4, atol=1e-5)


def test_a_batch_norm_that_was_split_and_a_bias_beside_its_layer(tmp_path):
    nodes = [
        node("Conv", "x k", "c"),
        node("Mul", "c scale", "m"),
        node("Add", "m shift", "n"),
        node("Conv", "n k2", "c2"),
        node("Add", "c2 shift", "b"),
        node("MatMul", "b w", "d"),
        node("Add", "d bias"),
    ]
    stored = {
        "k": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "k2": RNG.normal(size=(4, 4, 1, 1)).astype(np.float32),
        "scale": RNG.normal(size=(1, 4, 1, 1)).astype(np.float32),
        "shift": RNG.normal(size=(4, 1, 1)).astype(np.float32),
        "w": RNG.normal(size=(4, 5)).astype(np.float32),
        "bias": RNG.normal(size=5).astype(np.float32),
    }
    model = model_of(nodes, stored=stored)
    program = converted(model, tmp_path)
    graph = program.program.graph
    kinds = [graph.nodes[index].operator.kind for index in graph.layers]
    assert kinds == ["Convolution", "BatchNorm", "Convolution", "Dense"]
    x = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(computed(program, x), reference(model, x), rtol=2e-5, atol=2e-5)
