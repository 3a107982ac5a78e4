"""Tensors of PyTorch as images: its own where it is installed, and a stand-in for them.

The stand-in has what is used of a tensor, so that shapes and ranges are tested everywhere.
"""

from __future__ import annotations

import subprocess
import sys
import types

import numpy as np
import pytest

from cnnviz.errors import ImageError
from cnnviz.images.in_memory import held_image, is_held
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.samples import Samples

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def held(image):
    """What a color network gets: RGB of 8 bits, or what is displayed of anything else."""
    found = held_image(image, InputSpec())
    return found.displayed() if isinstance(found, Samples) else found


class StandIn:
    """A tensor, as far as it is used."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def detach(self):
        return self

    def cpu(self):
        return self

    def is_floating_point(self):
        return self.array.dtype.kind == "f"

    def float(self):
        return StandIn(self.array.astype(np.float32))

    def numpy(self):
        return self.array


@pytest.fixture(params=["stand-in", pytest.param("torch", marks=pytest.mark.needs("torch"))])
def tensor(request, monkeypatch):
    """From an array to a tensor."""
    if request.param == "torch":
        import torch

        return lambda array: torch.from_numpy(np.array(array))
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(Tensor=StandIn))
    return StandIn


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32, np.float64])
def test_channels_first_or_last_in_bytes_or_from_0_to_1(tensor, order, kind):
    values = PIXELS if kind == np.uint8 else (PIXELS / 255).astype(kind)
    given = tensor(values.transpose(order))
    assert is_held(given)
    np.testing.assert_array_equal(held(given), PIXELS)


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (5, 7, 1)])
def test_gray(tensor, shape):
    gray = PIXELS[:, :, 0]
    expected = np.dstack([gray] * 3)
    np.testing.assert_array_equal(held(tensor(gray.reshape(shape))), expected)
    floats = (gray / 255).astype(np.float32).reshape(shape)
    np.testing.assert_array_equal(held(tensor(floats)), expected)


def test_where_both_orders_fit_channels_come_first(tensor):
    square = PIXELS[:3, :3].transpose(2, 0, 1)
    np.testing.assert_array_equal(held(tensor(square)), PIXELS[:3, :3])


def test_floats_between_two_levels_of_8_bits_stay_between_them(tensor):
    values = np.array([[0.4999, 0.5001, 254.4, 254.6]], np.float32) / np.float32(255)
    found = held_image(tensor(values), InputSpec())
    assert isinstance(found, Samples)
    for channel in range(3):
        np.testing.assert_array_equal(found.plane(channel), values)
    assert found.displayed()[0, :, 0].tolist() == [0, 1, 254, 255]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.full((3, 5, 7), -2.1, np.float32), "go from -2.1 to -2.1: give the image as it was"),
        (np.full((3, 5, 7), 255.0, np.float32), "go from 255 to 255"),
        (np.full((3, 5, 7), np.nan, np.float32), "go from nan to nan"),
        (np.zeros((3, 5, 7), np.int64), "values are int64, and nothing says which"),
        (np.zeros((4, 5, 7), np.float32), r"shape \(4, 5, 7\)"),
        (np.zeros((3, 0, 7), np.float32), "at least one pixel"),
    ],
)
def test_what_is_no_image_is_refused(tensor, values, told):
    with pytest.raises(ImageError, match=told):
        held(tensor(values))


@pytest.mark.subprocess
def test_torch_is_not_imported_for_the_question():
    code = (
        "import sys; from cnnviz.images.in_memory import is_held;"
        "print(is_held(object()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
