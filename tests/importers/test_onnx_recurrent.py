"""LSTM layers of ONNX files, against the formulas that ONNX gives."""

import numpy as np
import pytest

from cnnviz.errors import NetworkError
from tests.support.onnx_files import computed, converted, model_of, node

pytestmark = pytest.mark.needs("onnx")

RNG = np.random.default_rng(11)
CHANNELS, HIDDEN, STEPS, ROWS = 3, 2, 4, 5
X = RNG.standard_normal((1, CHANNELS, ROWS, STEPS)).astype(np.float32)


def numbers(*shape):
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def stored(ways, *, biased=True):
    weights = [numbers(ways, 4 * HIDDEN, CHANNELS), numbers(ways, 4 * HIDDEN, HIDDEN)]
    return [*weights, *([numbers(ways, 8 * HIDDEN)] if biased else [])]


def model_with(arrays, read="x w0 w1 w2", output="y", **attributes):
    """Every row of the image as a sequence, of its pixels."""
    layout = attributes.get("layout", 0)
    order = [0, 2, 3, 1] if layout else [3, 0, 2, 1]
    shape = [ROWS, STEPS, CHANNELS] if layout else [STEPS, ROWS, CHANNELS]
    given = {"y": "y", "h": "- y"}[output]
    nodes = [
        node("Transpose", "x", "t", perm=order),
        node("Reshape", "t s", "r"),
        node("LSTM", read.replace("x", "r", 1), given, hidden_size=HIDDEN, **attributes),
    ]
    weights = {f"w{place}": array for place, array in enumerate(arrays)}
    return model_of(nodes, X.shape, stored={**weights, "s": np.array(shape)})


def formula(arrays, direction):
    """Y, (steps, ways, rows, hidden), and Y_h, (ways, rows, hidden); gates are i, o, f, c."""
    rows = X[0].transpose(2, 1, 0).astype(np.float64)
    outputs, ends = [], []
    for way, (weight, recurrent, *biases) in enumerate(zip(*arrays, strict=True)):
        bias = sum(np.split(biases[0], 2)) if biases else 0
        backward = direction == "reverse" or way == 1
        hidden = cell = np.zeros((ROWS, HIDDEN))
        found = np.empty((STEPS, ROWS, HIDDEN))
        for step in range(STEPS)[:: -1 if backward else 1]:
            total = rows[step] @ weight.T + hidden @ recurrent.T + bias
            enters, given, kept, new = np.split(total, 4, axis=-1)
            enters, given, kept = (1 / (1 + np.exp(-each)) for each in (enters, given, kept))
            cell = kept * cell + enters * np.tanh(new)
            hidden = found[step] = given * np.tanh(cell)
        outputs.append(found)
        ends.append(hidden)
    return np.stack(outputs, 1), np.stack(ends)


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_every_direction(direction, biased, layout, tmp_path):
    """float32 in four steps of a dozen sums."""
    arrays = stored(2 if direction == "bidirectional" else 1, biased=biased)
    read = "x w0 w1 w2" if biased else "x w0 w1"
    whole, last = formula(arrays, direction)
    if layout:
        whole, last = whole.transpose(2, 0, 1, 3), last.swapaxes(0, 1)
    for output, wanted in (("y", whole), ("h", last)):
        model = model_with(arrays, read, output, direction=direction, layout=layout)
        found = computed(converted(model, tmp_path), X)
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "read", "what"),
    [
        ({"activations": ["Tanh", "Tanh", "Tanh"]}, "x w0 w1 w2", "activations of its own"),
        ({"clip": 3.0}, "x w0 w1 w2", "activations of its own"),
        ({"input_forget": 1}, "x w0 w1 w2", "follows its input gate"),
        ({"direction": "sideways"}, "x w0 w1 w2", "'sideways', which ONNX does not have"),
        ({}, "x w0 w1 w2 - h0", "begins with a state of its own"),
        ({}, "x w0 w1 w2 lengths", "lengths of its own"),
        ({}, "x x w1 w2", "computed from the images"),
    ],
)
def test_what_is_not_run_is_refused_by_name(attributes, read, what, tmp_path):
    model = model_with([*stored(1)], read, **attributes)
    more = {"h0": numbers(1, ROWS, HIDDEN), "lengths": np.full(ROWS, STEPS, np.int32)}
    from onnx import numpy_helper

    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in more.items())
    with pytest.raises(NetworkError, match=rf"operator LSTM.*{what}"):
        converted(model, tmp_path)
