"""What an ONNX file says of its images, and what onnxruntime says of it."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.importers.onnx_file import open_onnx
from tests.support.onnx_files import computed, model_of, node, saved

pytestmark = pytest.mark.needs("onnx")

RNG = np.random.default_rng(11)
KERNEL = {"k": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)}
CONV = node("Conv", "n k")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def column(values) -> np.ndarray:
    return np.reshape(np.asarray(values, np.float32), (1, -1, 1, 1))


def source(nodes, folder, stored=None, **more):
    return open_onnx(saved(model_of(nodes, stored={**KERNEL, **(stored or {})}, **more), folder))


PLAIN = [
    # pixels from 0 to 255, brought to ImageNet's scale
    ([node("Sub", "x mean", "s"), node("Div", "s std", "n")],
     {"mean": column(255 * MEAN), "std": column(255 * STD)}, 1 / 255),
    ([node("Mul", "x scale", "s"), node("Add", "s shift", "n")],
     {"scale": column(1 / 255 / STD), "shift": column(-MEAN / STD)}, 1 / 255),
    ([node("Div", "x scale", "n")], {"scale": np.float32(255)}, 1 / 255),
    ([node("Div", "x scale", "d"), node("Sub", "d one", "n")],
     {"scale": np.float32(127.5), "one": np.float32(1)}, 1 / 255),
    # pixels from 0 to 1
    ([node("Sub", "x mean", "s"), node("Div", "s std", "n")],
     {"mean": column(MEAN), "std": column(STD)}, 1.0),
    # by what the first batch norm has seen
    ([node("BatchNormalization", "x one one mean var", "n")],
     {"one": np.ones(3, np.float32), "mean": np.float32([120, 115, 100]),
      "var": np.float32([3500, 3300, 3400])}, 1 / 255),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "stored", "std"), PLAIN)
def test_a_file_that_brings_pixels_to_its_scale(nodes, stored, std, tmp_path):
    hint = source([*nodes, CONV], tmp_path, stored).hint
    assert (hint.channels, hint.size) == (3, (6, 6))
    np.testing.assert_allclose(hint.mean, [0, 0, 0])
    np.testing.assert_allclose(hint.std, [std] * 3)
    assert "itself" in hint.reason or "batch norm" in hint.reason


def test_channels_last_and_open_size(tmp_path):
    nodes = [
        node("Div", "x scale", "s"),
        node("Transpose", "s", "n", perm=[0, 3, 1, 2]),
        CONV,
    ]
    found = source(nodes, tmp_path, {"scale": np.float32(255)}, shape=(None, None, None, 3)).hint
    assert (found.channels, found.size) == (3, None)
    np.testing.assert_allclose(found.std, [1 / 255] * 3)


def test_whole_numbers_are_pixels(tmp_path):
    hint = source([node("Cast", "x", "n", to=1), CONV], tmp_path, dtype=2).hint
    np.testing.assert_allclose(hint.std, [1 / 255] * 3)
    assert "uint8" in hint.reason


@pytest.mark.parametrize(
    ("nodes", "stored"),
    [
        ([node("Identity", "x", "n")], {}),
        ([node("Relu", "x", "n")], {}),
        # a shift for each pixel, another for each channel's branch
        ([node("Add", "x shift", "n")], {"shift": RNG.normal(size=(3, 6, 6)).astype(np.float32)}),
        ([node("Mul", "x x", "n")], {}),
    ],
)
def test_a_file_that_says_nothing(nodes, stored, tmp_path):
    hint = source([*nodes, CONV], tmp_path, stored).hint
    assert (hint.mean, hint.std) == (None, None)


@pytest.mark.needs("onnxruntime")
@pytest.mark.parametrize("head", [None, "n"])
def test_onnxruntime_says_the_same(head, tmp_path):
    found = source([node("Neg", "x", "n"), CONV], tmp_path)
    assert found.reference is None  # nobody has said yet what is explained
    found.program((3, 6, 6), head)
    assert found.reference.startswith("onnxruntime")
    x = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)
    program = found.onnx.program((3, 6, 6), head)
    np.testing.assert_allclose(
        found.reference_output(x, head), computed(program, x), rtol=2e-5, atol=2e-5
    )


@pytest.mark.needs("onnxruntime")
def test_what_is_computed_in_half_precision_is_compared_less_strictly(tmp_path):
    nodes = [node("Cast", "x", "h", to=10), node("Cast", "h", "n", to=1), CONV]
    found = source(nodes, tmp_path)
    program = found.onnx.program((3, 6, 6))
    found.program((3, 6, 6), None)
    assert found.reference.startswith("onnxruntime")
    assert found.unchecked == ""
    (said,) = found.remarks
    assert "computes in less than float32, cnnviz in float32" in said
    x = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)
    ours, theirs = computed(program, x), found.reference_output(x, None)
    apart = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert 1e-5 < apart < found.most_apart  # it rounds to 11 bits, 5e-4 at most for a number
    exact = source([node("Neg", "x", "n"), CONV], tmp_path)
    assert exact.most_apart == 1e-3
    assert exact.remarks == ()


@pytest.mark.needs("onnxruntime")
def test_a_quantized_file_is_compared_and_never_refused(tmp_path):
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "n"),
        CONV,
    ]
    stored = {"scale": np.float32(0.1), "zero": np.uint8(100)}
    found = source(nodes, tmp_path, stored)
    program = found.onnx.program((3, 6, 6))
    found.program((3, 6, 6), None)
    assert found.reference.startswith("onnxruntime")
    assert found.most_apart == np.inf
    assert found.unchecked == ""
    x = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)
    # 27 products, each off by half a step of 0.1 at most.
    most = 27 * 0.05 * np.abs(KERNEL["k"]).max()
    assert 0 < np.abs(computed(program, x) - found.reference_output(x, None)).max() < most


@pytest.mark.needs("onnxruntime")
def test_a_file_that_takes_bytes_is_compared_on_bytes(tmp_path):
    found = source([node("Cast", "x", "n", to=1), CONV], tmp_path, dtype=2)
    program = found.onnx.program((3, 6, 6))
    found.program((3, 6, 6), None)
    assert found.takes_bytes
    assert found.reference.startswith("onnxruntime")
    x = RNG.integers(0, 256, (1, 3, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(
        computed(program, x), found.reference_output(x, None), rtol=2e-5, atol=2e-3
    )


@pytest.mark.needs("onnxruntime")
def test_why_a_file_is_not_compared(tmp_path):
    found = source([node("Cast", "x", "n", to=1), CONV], tmp_path, dtype=16)
    found.program((3, 6, 6), None)
    assert found.reference is None
    assert "takes bfloat16" in found.unchecked
