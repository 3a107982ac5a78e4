"""What a style refuses, and what it means for figures."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.errors import UsageError
from cnnviz.rendering.maps import colorize, overlay, render_heatmap
from cnnviz.rendering.style import Style


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"colormap": "rainbow"}, "no color map 'rainbow'; choose one of jet, turbo"),
        ({"alpha": 1.5}, r"alpha lies between 0 \(image\) and 1 \(colors\); got 1.5"),
        ({"alpha": float("nan")}, "got nan"),
        ({"size": 0}, "got 0"),
        ({"size": "huge"}, "got 'huge'"),
    ],
)
def test_what_could_only_fail_later_is_refused(options, problem):
    with pytest.raises(UsageError, match=problem):
        Style(**options)


def test_figures_fit_a_screen_unless_a_size_was_asked_for():
    assert Style().max_width == 2560
    assert Style(size="full").max_width is None
    assert Style(size=4000).max_width is None


def test_heatmaps_lie_over_the_image_or_stand_alone():
    image = np.full((2, 3, 3), 90, np.uint8)
    heatmap = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    over = Style(colormap="hot", alpha=0.7)
    assert (render_heatmap(image, heatmap, over) == overlay(image, heatmap, "hot", 0.7)).all()
    alone = Style(colormap="hot", alpha=0.7, overlay=False)
    assert (render_heatmap(image, heatmap, alone) == colorize(heatmap, "hot")).all()
