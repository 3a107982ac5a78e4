"""An explanation's images: what they are drawn on, and at what scale."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.attribution import choose_methods
from cnnviz.explanation import Explanation
from cnnviz.graph.architecture import Layer
from cnnviz.images.preprocessing import InputSpec, canvas, prepare
from cnnviz.rendering.style import Style


def explanation(image, spec, resize="stretch"):
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
    prepared = prepare(image, spec, resize)
    logits = np.zeros(2, np.float32)
    return Explanation(prepared, logits, 0, (layer,), choose_methods(), (maps,), {}, None)


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("resize", ["stretch", "crop"])
@pytest.mark.parametrize("size", ["default", "model", 200, 40])
def test_on_a_canvas_as_on_the_image(image, resize, size):
    explained = explanation(image, InputSpec(32, 48), resize)
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
    explained = explanation(image, InputSpec(32, 32), "crop")

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
