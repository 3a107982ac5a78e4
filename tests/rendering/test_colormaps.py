"""The colors of scales."""

from __future__ import annotations

import pytest

from cnnviz.errors import UsageError
from cnnviz.rendering.colormaps import color_scale


def test_a_scale_goes_from_its_lowest_color_to_its_highest():
    jet = color_scale("jet", 5)
    assert jet[0].tolist() == [0, 0, 128]
    assert jet[-1].tolist() == [128, 0, 0]
    assert jet.shape == (5, 3)
    assert color_scale("diverging", 3).tolist() == [[0, 79, 135], [247, 247, 247], [153, 10, 23]]
    with pytest.raises(UsageError, match="'rainbow'"):
        color_scale("rainbow")
