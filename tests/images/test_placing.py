"""Sizes, corners and boxes for any crop fraction and interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import ImageError, UsageError
from cnnviz.images.decode import read_image
from cnnviz.images.input_spec import INTERPOLATIONS, InputSpec
from cnnviz.images.loading import load_image
from cnnviz.images.placing import Placing, seen_part
from cnnviz.images.preprocessing import prepare, required_decode_size, to_image
from cnnviz.images.samples import Samples

RNG = np.random.default_rng(8)


def cropping(size, fraction, interpolation="bilinear"):
    return InputSpec(*size, resize="crop", crop_fraction=fraction, interpolation=interpolation)


@pytest.mark.parametrize(
    ("source", "spec", "scaled", "corner"),
    [
        # torchvision's 232 for 224: the long side is 232 · 500/333 = 348.3
        ((333, 500), cropping((224, 224), 224 / 232), (232, 348), (4, 62)),
        ((500, 333), cropping((224, 224), 224 / 232), (348, 232), (62, 4)),
        # 232 · 641/333 = 446.6 is cut to 446
        ((333, 641), cropping((224, 224), 224 / 232), (232, 446), (4, 111)),
        # timm's 0.95: 224/0.95 = 235.8 is cut to 235; half of 11 is rounded to 6, half of 13 to 6
        ((500, 500), cropping((224, 224), 0.95), (235, 235), (6, 6)),
        ((500, 505), cropping((224, 224), 0.95), (235, 237), (6, 6)),
        ((500, 500), cropping((224, 224), 1.0), (224, 224), (0, 0)),
        # 7/0.07 is 99.99999999999999 in floats
        ((500, 500), cropping((7, 7), 0.07), (100, 100), (46, 46)),
        # Not square: 182 × 256 is covered, by 240 · 256/300 = 204.8, or by 400 · 182/240 = 303.3
        ((240, 300), cropping((160, 224), 0.875), (205, 256), (22, 16)),
        ((240, 400), cropping((160, 224), 0.875), (182, 303), (11, 40)),
        # stretched to 1/0.9 of 192, which is 213.3: timm's squash
        (
            (333, 500),
            InputSpec(192, 192, resize="stretch", crop_fraction=0.9, interpolation="bicubic"),
            (213, 213),
            (10, 10),
        ),
        # cnnviz's own: the long side is rounded, and half pixels are cut
        ((333, 500), cropping((224, 224), 224 / 232, "area"), (232, 348), (4, 62)),
        ((333, 641), cropping((224, 224), 224 / 232, "area"), (232, 447), (4, 111)),
        ((500, 500), cropping((224, 224), 0.95, "area"), (236, 236), (6, 6)),
    ],
)
def test_sizes_and_corners(source, spec, scaled, corner):
    placing = Placing.of(source, spec)
    assert (placing.scaled, placing.corner) == (scaled, corner)


@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("fraction", [None, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("resize", ["stretch", "crop"])
@pytest.mark.parametrize("source", [(301, 217), (64, 90)])
def test_the_box_is_where_the_pixels_come_from(source, resize, fraction, interpolation):
    """Of an image whose values are its coordinates each pixel that is fed says where it is from."""
    spec = InputSpec(
        *(48, 60),
        (0.0, 0.0),
        (1.0, 1.0),
        range=(0, 1),
        resize=resize,
        crop_fraction=fraction,
        interpolation=interpolation,
    )
    places = np.stack(np.mgrid[: source[0], : source[1]], axis=2).astype(np.float32) + 0.5
    prepared = prepare(Samples(places, 0, 1, (0,)), spec)
    top, left, bottom, right = prepared.geometry.box
    down, across = (bottom - top) / 48, (right - left) / 60
    rows, columns = np.mgrid[:48, :60] + 0.5
    # Filters are cut off at the image's edges, and take whole pixels.
    for apart in (
        (prepared.input[0] - (top + rows * down))[6:-6, 6:-6] / down,
        (prepared.input[1] - (left + columns * across))[6:-6, 6:-6] / across,
    ):
        assert np.abs(apart).max() < 0.1
        assert abs(apart.mean()) < 0.005


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_of_a_square_image_that_is_not_cut_nothing_is_dark(interpolation):
    geometry = seen_part((333, 333), cropping((224, 224), 1.0, interpolation))
    assert geometry.box == (0, 0, 333, 333)
    assert to_image(np.ones((7, 7)), geometry, (333, 333))[1].all()
    beside = seen_part((333, 444), cropping((224, 224), 1.0, interpolation))
    seen = to_image(np.ones((7, 7)), beside, (333, 444))[1]
    assert abs(seen.mean() - 0.75) < 0.01
    assert seen[:, 222].all()


def test_a_large_jpeg_is_fed_in_full_by_pillows_filters(tmp_path):
    small = RNG.integers(0, 256, (40, 60, 3), np.uint8)
    path = tmp_path / "large.jpg"
    Image.fromarray(small).resize((1200, 800), Image.Resampling.BICUBIC).save(path, quality=90)
    pixels = read_image(path)
    for resize in ("stretch", "crop"):
        spec = InputSpec(64, 64, resize=resize, interpolation="bicubic")
        prepared, canvas = load_image(path, spec, "default", remark=print)
        np.testing.assert_array_equal(prepared.input, prepare(pixels, spec).input)
        assert canvas.shape == (683, 1024)
        assert required_decode_size((800, 1200), "model", spec) == (800, 1200)


def test_gray_networks_are_fed_the_gray_of_the_resized_image():
    image = RNG.integers(0, 256, (50, 70, 3), np.uint8)
    spec = InputSpec(20, 30, (0.0,), (1.0,), interpolation="bicubic")
    resized = np.asarray(Image.fromarray(image).resize((30, 20), Image.Resampling.BICUBIC))
    expected = resized @ [0.299, 0.587, 0.114] / 255
    np.testing.assert_allclose(prepare(image, spec).input[0], expected, atol=0.51 / 255)


def test_16_bits_are_resized_as_floats():
    values = RNG.integers(0, 65536, (50, 70, 1)).astype(np.uint16)
    spec = InputSpec(20, 30, (0.0,), (1.0,), resize="crop", interpolation="lanczos")
    held = Image.fromarray(values[:, :, 0].astype(np.float32) / 65535)
    resized = np.asarray(held.resize((34, 24), Image.Resampling.LANCZOS))
    found = prepare(Samples(values, 0, 65535, (0,)), spec)
    # 34 × 34/70 · 50 = 24: 2 are cut above and below, and 2 left and right.
    np.testing.assert_allclose(found.input[0], resized[2:22, 2:32], atol=1e-6)


def test_what_is_no_way_to_resize_is_refused():
    for fraction in (0, -0.5, 1.01, float("nan")):
        with pytest.raises(UsageError, match="above 0 and at most 1"):
            InputSpec(crop_fraction=fraction)
    with pytest.raises(UsageError, match=r"'cubic'; choose one of area, nearest, .*bicubic"):
        InputSpec(interpolation="cubic")
    for resize in ("stretch", "crop"):
        for interpolation in ("area", "bilinear"):
            for fraction in (1e-3, 5e-324):
                spec = InputSpec(resize=resize, crop_fraction=fraction, interpolation=interpolation)
                with pytest.raises(ImageError, match="use a larger --crop-fraction"):
                    seen_part((30, 40), spec)
    with pytest.raises(ImageError, match="too unlike the network's 224x224"):
        seen_part((1, 20000), cropping((224, 224), 1.0))
