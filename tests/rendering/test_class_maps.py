"""Classes in colors that can be told apart."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cnnviz.errors import MapError
from cnnviz.images.preprocessing import Geometry, to_image
from cnnviz.rendering.class_maps import CLASS_COLORS, OTHER, class_map, class_palette
from cnnviz.rendering.colormaps import UNSEEN


def test_the_most_frequent_class_has_the_first_color():
    classes = np.array([[281, 281, 7], [-1, 281, 7], [3, 3, 404]])

    palette = class_palette(classes, 4)

    assert palette == dict(zip([281, 3, 7, -1], CLASS_COLORS, strict=False))
    assert list(palette) == [281, 3, 7, -1]  # 3, 2, 2, 1 and 1: of equals the lower first


def test_there_are_no_more_colors_than_can_be_told_apart():
    palette = class_palette(np.arange(1000))

    assert len(palette) == len(set(palette.values())) == 20
    result = class_map(np.arange(1000).reshape(20, 50), palette)
    assert (result[0, :20] == np.array(CLASS_COLORS)).all()
    assert (result[1:] == OTHER).all()


def test_colors_of_classes_are_far_from_one_another():
    """20 units of CIELAB apart are colors with different names, or light and dark of one."""
    every = np.array([*CLASS_COLORS, OTHER, UNSEEN, (255, 255, 255)], np.float32)[None] / 255
    lab = cv2.cvtColor(every, cv2.COLOR_RGB2LAB)[0]

    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)

    assert distances[~np.eye(len(lab), dtype=bool)].min() > 20


@pytest.mark.parametrize("shape", [(6, 9), (7, 11), (2, 3), (50, 31)])
def test_enlarged_classes_are_not_mixed(shape):
    """Each pixel shows the class whose center is nearest to its own center."""
    classes = np.array([[0, 1, 2], [3, 4, 0]])
    palette = {index: (10 * index, index, 255 - index) for index in range(5)}
    geometry = Geometry((20, 30), (0.0, 0.0, 20.0, 30.0), (2, 3))

    result = class_map(classes, palette, lambda values: to_image(values, geometry, shape)[0])

    rows = np.floor((np.arange(shape[0]) + 0.5) / shape[0] * 2).astype(int)
    columns = np.floor((np.arange(shape[1]) + 0.5) / shape[1] * 3).astype(int)
    expected = class_map(classes, palette)[rows][:, columns]
    # A center on the very border between two values belongs to either.
    on_border = np.isin((np.arange(shape[0]) + 0.5) / shape[0] * 2, [1.0])[:, None] | np.isin(
        (np.arange(shape[1]) + 0.5) / shape[1] * 3, [1.0, 2.0]
    )
    assert (result[~on_border] == expected[~on_border]).all()
    assert on_border.mean() < 0.5


def test_classes_of_a_crop_lie_where_the_network_looked():
    classes = np.array([[5, 6]])
    geometry = Geometry((4, 8), (0.0, 2.0, 4.0, 6.0), (4, 4))
    palette = {5: (1, 1, 1), 6: (2, 2, 2)}
    _, seen = to_image(classes.astype(np.float32), geometry, (4, 8))

    result = class_map(classes, palette, lambda values: to_image(values, geometry, (4, 8))[0], seen)

    assert result[0, :, 0].tolist() == [64, 64, 1, 1, 2, 2, 64, 64]
    assert (result == result[:1]).all()


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.zeros((2, 3, 1), int), np.zeros((0, 3), int)])
def test_classes_are_whole_numbers(bad):
    with pytest.raises(MapError, match="whole numbers"):
        class_map(bad, {})
