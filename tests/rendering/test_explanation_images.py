"""An explanation's images: what they are drawn on, and at what scale."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.attribution import choose_methods
from cnnviz.explanation import Explanation
from cnnviz.graph.architecture import Layer
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.preprocessing import Canvas, Geometry, canvas, prepare
from cnnviz.rendering.class_maps import CLASS_COLORS
from cnnviz.rendering.colormaps import color_scale
from cnnviz.rendering.explanation_images import (
    ExplanationMaps,
    NamedMap,
    panel_cells,
    render,
    scale_limits,
)
from cnnviz.rendering.maps import overlay
from cnnviz.rendering.style import Style


def explanation(image, spec):
    """With maps made up, smooth enough that enlarging keeps their range."""
    rng = np.random.default_rng(0)
    channels = len(spec.mean)
    guided = rng.standard_normal((channels, spec.height, spec.width)).astype(np.float32)
    maps = {
        "gradcam": rng.random((4, 5), dtype=np.float32),
        "guided_gradcam": guided,
        "saliency": np.abs(guided).sum(0),
    }
    layer = Layer("features.3", "conv3", "Convolution", (8, 4, 5))
    prepared = prepare(image, spec)
    logits = np.zeros(2, np.float32)
    return Explanation(prepared, logits, 0, (layer,), choose_methods(), (maps,), {}, None)


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("resize", ["stretch", "crop"])
@pytest.mark.parametrize("size", ["default", "model", 200, 40])
def test_on_a_canvas_as_on_the_image(image, resize, size):
    explained = explanation(image, InputSpec(32, 48, resize=resize))
    style = Style(size=size)

    drawn = explained.render(image, style)
    again = explained.render(canvas(image, explained.prepared, size), style)

    assert list(drawn.images) == ["original", "gradcam", "guided_gradcam", "saliency"]
    assert drawn.blank == again.blank == ()
    for key, pixels in drawn.images.items():
        assert (again.images[key] == pixels).all()
        assert pixels.shape[:2] == drawn.images["original"].shape[:2]


def test_what_the_network_did_not_see_is_without_evidence(image):
    """Crop keeps 7/8 of the short side: of 90 rows 5.6 are left out above and below."""
    explained = explanation(image, InputSpec(32, 32, resize="crop"))

    drawn = explained.render(image, Style()).images

    assert (drawn["guided_gradcam"][:5] == 128).all()
    assert (drawn["saliency"][:5] == 0).all()
    assert (drawn["gradcam"][:5] == drawn["gradcam"][:5, :, :1]).all()  # gray
    assert (drawn["guided_gradcam"][8:20, 30:90] != 128).mean() > 0.9


def test_a_larger_image_is_the_models_enlarged(image):
    """Scaled before it is enlarged, so that the same value has the same color at every size."""
    explained = explanation(image, InputSpec(60, 80))

    small = explained.render(image, Style(size=80)).images["guided_gradcam"].astype(float)
    large = explained.render(image, Style(size=160)).images["guided_gradcam"].astype(float)

    assert small.shape == (60, 80, 3)
    # Bilinear at a quarter of a pixel: 3/4 and 1/4 of neighbors, by hand for one row.
    row = 0.75 * small[10] + 0.25 * small[11]
    expected = 0.75 * row[20] + 0.25 * row[21]
    assert np.abs(large[21, 41] - expected).max() <= 1


def test_a_network_that_sees_gray(image):
    explained = explanation(image, InputSpec(32, 48, (0.5,), (0.2,)))

    drawn = explained.render(image, Style()).images

    assert drawn["guided_gradcam"].shape == (90, 120)
    assert drawn["gradcam"].shape == (90, 120, 3)


SIDE = 40
BASE = Canvas(
    np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8),
    Geometry((SIDE, SIDE), (0.0, 0.0, float(SIDE), float(SIDE)), (SIDE, SIDE)),
)


def flat(level, shape=(4, 4)):
    return np.full(shape, level, np.float32)


def maps_of(*maps, layers=(("last", "8x4x4"),), **more):
    return ExplanationMaps(
        maps, layers, "volcano (980)", "volcano (980) 0.22", lambda index: f"class {index}", **more
    )


def test_maps_of_several_layers_stand_in_columns():
    heat = NamedMap("gradcam", "Grad-CAM", "heat", (flat(1), flat(0)))
    once = NamedMap("gradient", "gradient", "signed", (flat(0, (3, 4, 4)),))
    explained = maps_of(heat, once, layers=(("early", "8x4x4"), ("late", "16x4x4")))

    rendered = render(explained, BASE, Style())

    assert list(rendered.columns) == ["gradcam"]
    first, second = rendered.columns["gradcam"]
    expected = overlay(BASE.image, np.ones((SIDE, SIDE), np.float32))
    assert (first == expected).all()
    assert (second != first).any()
    assert rendered.images["gradcam"].shape[1] > 2 * SIDE
    assert rendered.blank == ("gradient",)  # a column for each layer is blank only if all are


def test_rows_of_a_panel():
    """Four images in a row; columns of layers in rows of their own, under all others."""
    heat = NamedMap("gradcam", "Grad-CAM", "heat", (flat(1), flat(1)))
    plain = [NamedMap(f"m{i}", f"map {i}", "magnitude", (flat(i),)) for i in range(4)]
    explained = maps_of(heat, *plain, layers=(("early", "8x4x4"), ("late", "16x4x4")))

    rows = panel_cells(explained, render(explained, BASE, Style()))

    assert [[cell.caption for cell in row] for row in rows] == [
        ["volcano (980) 0.22", "map 0", "map 1", "map 2"],
        ["map 3"],
        ["Grad-CAM, early", "Grad-CAM, late"],
    ]
    assert rows[0][0].image is BASE.image


def test_common_scales():
    """Half the limit is as strong as the half of a map's own maximum."""
    weak = maps_of(NamedMap("gradcam", "Grad-CAM", "heat", (flat(1),)))
    assert scale_limits(weak.maps) == {"gradcam": 1.0}
    shown = render(weak, BASE, Style(), {"gradcam": 2.0}).images["gradcam"]
    assert (shown == overlay(BASE.image, np.full((SIDE, SIDE), 0.5, np.float32))).all()


def test_what_has_no_scale_has_no_limit():
    classes = NamedMap("classes", "classes", "classes", (flat(3),))
    outputs = NamedMap("output", "output", "probability", (flat(0.5),))
    assert scale_limits([classes, outputs]) == {}


@pytest.mark.parametrize("probabilities", [True, False])
def test_outputs_have_the_colors_of_the_scale_below_them(probabilities):
    """Probabilities from 0 to 1; numbers of any range from the lowest to the highest."""
    values = np.repeat([[0.0], [1.0]] if probabilities else [[-3.0], [7.0]], 2, axis=1)
    outputs = NamedMap("output", "output", "probability", (values.astype(np.float32),))

    rendered = render(maps_of(outputs, probabilities=probabilities), BASE, Style())

    image = rendered.images["output"]
    scale = color_scale(Style.colormap)
    assert (image[0, :SIDE] == scale[0]).all()
    assert (image[SIDE - 1, :SIDE] == scale[-1]).all()
    assert image.shape[0] > SIDE
    assert rendered.blank == ()


def test_classes_have_a_legend():
    values = np.array([[3, 3], [5, 3]], np.float32)
    rendered = render(maps_of(NamedMap("c", "classes", "classes", (values,))), BASE, Style())
    image = rendered.images["c"]
    assert (image[0, 0] == CLASS_COLORS[0]).all()  # the most frequent
    assert (image[SIDE - 1, 0] == CLASS_COLORS[1]).all()
    assert image.shape[0] > SIDE or image.shape[1] > SIDE
