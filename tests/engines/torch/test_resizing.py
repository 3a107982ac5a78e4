"""Resizing against PyTorch's own, which has some of the conventions."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.engines.base import Device
from cnnviz.engines.registry import build_engine
from cnnviz.graph.graph import Graph, Node, Value
from cnnviz.graph.operators import Input, Resize2d

pytestmark = pytest.mark.needs("torch")


@pytest.mark.parametrize("size", [(14, 20), (3, 4), (11, 23), (1, 1)])
@pytest.mark.parametrize(
    ("mode", "coordinates", "rounding", "theirs"),
    [
        ("nearest", "asymmetric", "floor", {"mode": "nearest"}),
        ("nearest", "half_pixel", "round_prefer_ceil", {"mode": "nearest-exact"}),
        ("bilinear", "half_pixel", "floor", {"mode": "bilinear"}),
        ("bilinear", "align_corners", "floor", {"mode": "bilinear", "align_corners": True}),
        ("bicubic", "half_pixel", "floor", {"mode": "bicubic"}),
        ("bicubic", "align_corners", "floor", {"mode": "bicubic", "align_corners": True}),
    ],
)
def test_resizing_is_pytorchs(size, mode, coordinates, rounding, theirs):
    import torch

    operator = Resize2d(size, mode, coordinates, rounding)
    nodes = (Node(Input((3, 7, 10)), "data"), Node(operator, "resized", (Value(0),)))
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 3, 7, 10)).astype(np.float32)
    engine = build_engine(Graph(nodes, Value(1)), {}, Device("cpu"), "torch")
    expected = torch.nn.functional.interpolate(torch.from_numpy(batch), size, **theirs)
    # Theirs are places in float32, which moves weights by 1e-6.
    np.testing.assert_allclose(engine.run(batch, record=False).output, expected, atol=5e-6)
