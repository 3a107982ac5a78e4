"""What of an ONNX file is computed while it is read, against ONNX's own reference."""

import numpy as np
import pytest

from cnnviz.errors import NetworkError
from cnnviz.importers.onnx_folding import _NO_LARGER, _SIZES, _STRETCHED, _size
from tests.support.onnx_files import computed, converted, model_of, node, reference

pytestmark = pytest.mark.needs("onnx")

RNG = np.random.default_rng(3)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*values):
    return np.asarray(values, np.int64)


#: Of stored numbers alone; those that are computed here, and one that ONNX's reference computes.
FOLDED = [
    ("Add", {}, [numbers(3, 1), numbers(4)]),
    ("Sub", {}, [whole(5, 7), whole(2, 9)]),
    ("Mul", {}, [numbers(3, 1), numbers(4)]),
    ("Identity", {}, [numbers(3)]),
    ("Gather", {"axis": 1}, [numbers(2, 5, 3), whole(4, 0, -1)]),
    ("Gather", {}, [whole(7, 8, 9), np.array(-1)]),
    ("GatherND", {}, [numbers(3, 4, 5), np.array([[0, 1], [2, -1]])]),
    ("GatherND", {"batch_dims": 1}, [numbers(2, 4, 5), np.array([[1], [3]])]),
    ("Div", {}, [whole(-7, 8), whole(2, 3)]),
    ("Conv", {"pads": [1, 1, 1, 1]}, [numbers(1, 2, 4, 4), numbers(3, 2, 3, 3)]),
    ("Resize", {"mode": "cubic"}, [numbers(1, 2, 4, 3), None, None, whole(1, 2, 7, 5)]),
    ("Resize", {"mode": "linear"}, [numbers(2, 4, 3), None, np.float32([1, 0.5, 3])]),
    ("Resize", {"axes": [2, 1]}, [numbers(1, 4, 3), None, None, whole(5, 6)]),
    ("Cast", {"to": 7}, [np.float32([2.7, -2.7])]),
    ("Cast", {"to": 10}, [numbers(3)]),
    ("Concat", {"axis": -1}, [numbers(2, 3), numbers(2, 1)]),
    ("Equal", {}, [whole(5, 7), whole(5, 9)]),
    ("Expand", {}, [numbers(3, 1), whole(2, 1, 4)]),
    ("Reshape", {}, [numbers(3, 4), whole(2, -1)]),
    ("Reshape", {}, [numbers(3, 4), whole(0, 2, 2)]),
    ("Shape", {"start": -3, "end": 9}, [numbers(2, 3, 4, 5)]),
    ("Slice", {}, [numbers(4, 5), whole(1, 0), whole(2**62, -1)]),
    ("Slice", {}, [numbers(4, 5), whole(-1), whole(-9), whole(1), whole(-2)]),
    ("Slice", {}, [numbers(4, 5), whole(0), whole(4), None, whole(3)]),
    ("Unsqueeze", {}, [numbers(4, 5), whole(-1, 0)]),
    ("Where", {}, [np.array([True, False]), whole(5, 7), np.int64(3)]),
]


@pytest.mark.parametrize(("kind", "attributes", "arrays"), FOLDED)
def test_what_is_stored_is_computed_as_onnx_does(kind, attributes, arrays, tmp_path):
    stored = {f"s{place}": array for place, array in enumerate(arrays) if array is not None}
    read = ["-" if array is None else f"s{place}" for place, array in enumerate(arrays)]
    nodes = [
        node(kind, " ".join(read), "f", **attributes),
        node("Cast", "f", "c", to=1),
        node("ReduceSum", "x axes", "zero", keepdims=0),
        node("Mul", "zero none", "nothing"),
        node("Add", "c nothing"),
    ]
    stored |= {"axes": whole(0, 1, 2, 3), "none": np.float32(0)}
    model = model_of(nodes, stored=stored, opset=18)
    x = numbers(1, 3, 6, 6)
    found = computed(converted(model, tmp_path), x)
    np.testing.assert_allclose(found.reshape(-1), reference(model, x).reshape(-1), rtol=1e-6)


CROPS = {"coordinate_transformation_mode": "tf_crop_and_resize"}


@pytest.mark.parametrize(
    ("opset", "attributes", "wanted"),
    [
        (10, {}, {1: np.float32([1, 1, 2, 2])}),
        (18, CROPS, {1: np.float32([0, 0, 0, 0, 1, 1, 1, 1]), 3: whole(1, 1, 6, 6)}),
        (18, {}, {3: whole(1, 1, 2**20, 6)}),
        (18, {}, {3: whole(1, 1, 2**40, 6)}),
        (18, {}, {2: np.float32([1, 1, np.inf, 2])}),
    ],
)
def test_stored_numbers_that_are_not_resized(opset, attributes, wanted, tmp_path):
    stored = {"s": numbers(1, 1, 3, 3)} | {f"s{place}": each for place, each in wanted.items()}
    read = [f"s{place}" if place in wanted else "-" for place in range(1, max(wanted) + 1)]
    nodes = [node("Resize", " ".join(["s", *read]), "r", **attributes), node("Add", "x r")]
    model = model_of(nodes, (1, 1, 6, 6), stored=stored, opset=opset)
    with pytest.raises(NetworkError, match=r"Resize.*(does not compute|no network does|cannot)"):
        converted(model, tmp_path)


def test_what_is_folded_is_an_operator_of_onnx():
    import onnx

    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    assert {*_NO_LARGER, *_STRETCHED, *_SIZES} <= known


@pytest.mark.parametrize(
    ("left", "right"),
    [((5, 7), (7, 3)), ((7,), (7, 3)), ((5, 7), (7,)), ((7,), (7,)), ((2, 1, 5, 7), (4, 7, 3))],
)
def test_a_product_of_matrices_is_as_large_as_it_is(left, right):
    """However long the sums are: a table of positions may go through a wide layer."""
    arrays = [numbers(*left), numbers(*right)]
    assert _size("MatMul", {}, arrays) == np.matmul(*arrays).size


@pytest.mark.parametrize("a", [False, True])
@pytest.mark.parametrize("b", [False, True])
def test_a_product_of_transposed_matrices_is_as_large_as_it_is(a, b):
    arrays = [numbers(*((7, 5) if a else (5, 7))), numbers(*((3, 7) if b else (7, 3)))]
    assert _size("Gemm", {"transA": int(a), "transB": int(b)}, arrays) == 15
