"""Preprocessing against the formula, and the way back against where things are in the image."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnviz.errors import ImageError, MapError, UsageError
from cnnviz.images.decode import read_image, read_reduced
from cnnviz.images.preprocessing import (
    Geometry,
    InputSpec,
    canvas,
    output_shape,
    prepare,
    required_decode_size,
    resize_image,
    to_image,
)

SHAPES = [(301, 517), (640, 427), (224, 224), (100, 61), (57, 333), (256, 256)]
MODES = ["stretch", "crop"]
SAMPLES = Path(__file__).parents[2] / "sample_images" / "photos"


def constant(height, width, color=(10, 200, 90)):
    return np.broadcast_to(np.array(color, np.uint8), (height, width, 3)).copy()


# --- the network's input -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_normalizes_each_channel_by_the_formula_in_rgb_order(mode):
    prepared = prepare(constant(50, 80, (255, 0, 51)), InputSpec(resize=mode))

    assert prepared.input.shape == (3, 224, 224)
    assert prepared.input.dtype == np.float32
    assert prepared.input.flags["C_CONTIGUOUS"]
    # (1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225
    for channel, expected in enumerate((2.2489083, -2.0357143, -0.9155556)):
        np.testing.assert_allclose(prepared.input[channel], expected, rtol=1e-6)
    assert (prepared.seen == (255, 0, 51)).all()


def test_input_is_the_seen_image_normalized():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (300, 200, 3), dtype=np.uint8)
    spec = InputSpec(64, 96, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5), resize="crop")

    prepared = prepare(image, spec)

    expected = (prepared.seen / 255.0 - np.array(spec.mean)) / np.array(spec.std)
    assert prepared.seen.shape == (64, 96, 3)
    np.testing.assert_allclose(prepared.input, expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)


def test_a_network_of_one_channel_gets_luma():
    prepared = prepare(constant(9, 9, (100, 50, 200)), InputSpec(8, 8, (0.0,), (1.0,)))

    assert prepared.input.shape == (1, 8, 8)
    # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B = 82.05
    np.testing.assert_allclose(prepared.input, 82 / 255, atol=1e-6)
    assert (prepared.seen == 82).all()


@pytest.mark.parametrize("shape", [(448, 672), (224 * 3, 224 * 2), (672, 448)])
def test_shrinking_by_whole_factors_averages_the_blocks(shape):
    image = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    rows, columns = shape[0] // 224, shape[1] // 224

    seen = prepare(image).seen

    blocks = image.reshape(224, rows, 224, columns, 3).mean(axis=(1, 3))
    assert np.abs(seen - blocks).max() <= 0.5 + 1e-6


def test_shrinking_stripes_gives_gray_and_no_moire():
    image = np.zeros((1000, 1000, 3), np.uint8)
    image[:, ::2] = 255

    seen = prepare(image).seen.astype(int)

    # 4.46 source columns in one of the network's: an average within half a stripe of a half
    assert np.abs(seen - 127.5).max() < 32


def area_average(image, shape):
    """The mean over each result pixel's area, in float64: differences of the integral."""
    values = image.astype(np.float64)
    for axis, length in enumerate(shape):
        integral = np.insert(values.cumsum(axis), 0, 0.0, axis)
        edges = np.linspace(0, values.shape[axis], length + 1)
        at_edges = np.apply_along_axis(
            lambda line, at=edges: np.interp(at, np.arange(line.size), line), axis, integral
        )
        values = np.diff(at_edges, axis=axis) * length / values.shape[axis]
    return values


@pytest.mark.parametrize(
    ("shape", "tolerance"),
    [
        ((96, 96), 1.5),  # by way of exact halves, whose roundings add up
        ((120, 72), 1),
        ((91, 133), 0.51),  # no halves
        ((53, 60), 0.51),
    ],
)
def test_shrinking_averages_over_areas(shape, tolerance):
    image = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)

    small = resize_image(image, (12, 12))

    assert np.abs(small - area_average(image, (12, 12))).max() <= tolerance


def test_shrinking_by_halves_first_is_still_an_average():
    """Fractions of a half's pixels in place of fractions of pixels: on noise, the worst case."""
    image = np.random.default_rng(2).integers(0, 256, (200, 150, 3), dtype=np.uint8)

    small = resize_image(image, (22, 22))

    difference = small - area_average(image, (22, 22))
    assert np.abs(difference).mean() < 0.03 * 255
    assert abs(difference.mean()) < 0.5


@pytest.mark.parametrize("shape", [(40, 30), (223, 50), (100, 900), (900, 100)])
def test_growing_an_axis_is_bilinear_as_pillow_does_it(shape):
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    grown = (max(224, shape[0]), max(224, shape[1]))

    ours = resize_image(image, grown)

    theirs = Image.fromarray(image).resize(grown[::-1], Image.Resampling.BILINEAR)
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        # short side to 256, then 16 off each side: 16/256 of the short side
        ((256, 256), (16, 16, 240, 240)),
        ((512, 512), (32, 32, 480, 480)),
        # 512 x 1024 becomes 256 x 512: 16 off above, (512 - 224) / 2 = 144 off the left
        ((512, 1024), (32, 288, 480, 736)),
        ((1024, 512), (288, 32, 736, 480)),
        ((128, 128), (8, 8, 120, 120)),
    ],
)
def test_crop_keeps_the_center_224_of_256(shape, box):
    geometry = prepare(constant(*shape), InputSpec(resize="crop")).geometry

    assert geometry.source == shape
    assert geometry.box == pytest.approx(box)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60)
def test_crop_stays_inside_and_central_for_any_shape(height, width, net_h, net_w):
    spec = InputSpec(net_h, net_w, resize="crop")
    prepared = prepare(constant(height, width), spec)
    y0, x0, y1, x1 = prepared.geometry.box

    assert prepared.seen.shape == (net_h, net_w, 3)
    assert (prepared.seen == (10, 200, 90)).all()
    assert -1e-6 <= y0 < y1 <= height + 1e-6
    assert -1e-6 <= x0 < x1 <= width + 1e-6
    # the center, up to the half pixel of the resized image that an odd remainder costs
    assert abs((y0 + y1) / 2 - height / 2) <= 0.5 * (y1 - y0) / net_h + 1e-6
    assert abs((x0 + x1) / 2 - width / 2) <= 0.5 * (x1 - x0) / net_w + 1e-6


def test_stretch_sees_everything():
    assert prepare(constant(31, 77)).geometry == Geometry((31, 77), (0, 0, 31, 77), (224, 224))


def test_says_what_is_wrong():
    with pytest.raises(UsageError, match=r"'squeeze'.*stretch, crop"):
        InputSpec(resize="squeeze")
    with pytest.raises(ImageError, match=r"uint8.*float64.*\(4, 4, 3\)"):
        prepare(np.zeros((4, 4, 3)))
    with pytest.raises(ImageError, match=r"\(4, 4\)"):
        prepare(np.zeros((4, 4), np.uint8))
    with pytest.raises(UsageError, match="height 0"):
        InputSpec(height=0)
    with pytest.raises(UsageError, match="same number of values"):
        InputSpec(mean=(0.5, 0.5), std=(1.0,))
    with pytest.raises(UsageError, match="above zero"):
        InputSpec(std=(0.2, 0.0, 0.2))


# --- the size of what is written -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "size", "shape"),
    [
        ((300, 400), "default", (300, 400)),
        ((1024, 1024), "default", (1024, 1024)),
        ((2048, 1024), "default", (1024, 512)),
        ((3000, 4000), "default", (768, 1024)),
        ((3000, 4000), "full", (3000, 4000)),
        ((3000, 4000), "model", (224, 224)),
        ((300, 400), 800, (600, 800)),
        ((400, 300), 100, (100, 75)),
        ((5000, 2), 100, (100, 1)),
        ((1, 5000), "default", (1, 1024)),
    ],
)
def test_output_shape(source, size, shape):
    assert output_shape(source, size) == shape


@pytest.mark.parametrize("size", ["big", 0, -3, 40000, True, 2.5])
def test_output_shape_refuses(size):
    with pytest.raises(UsageError, match="default, full, model"):
        output_shape((10, 10), size)


def test_model_size_is_the_seen_image():
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, (90, 130, 3), dtype=np.uint8)
    prepared = prepare(image, InputSpec(32, 48, resize="crop"))

    drawn_on = canvas(image, prepared, "model")

    assert (drawn_on.image == prepared.seen).all()
    field = rng.random((32, 48)).astype(np.float32)
    back, seen = to_image(field, drawn_on.geometry, (32, 48))
    np.testing.assert_allclose(back, field, rtol=1e-6)
    assert seen.all()


# --- from an image read at reduced size ---------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "size", "resize", "pixels"),
    [
        ((3000, 4000), "default", "stretch", (768, 1024)),
        ((3000, 4000), "full", "stretch", (3000, 4000)),
        ((3000, 4000), "model", "stretch", (448, 448)),
        ((3000, 4000), 500, "stretch", (448, 500)),
        ((4000, 3000), 500, "stretch", (500, 448)),
        # crop: the short side becomes 256, the other 341
        ((3000, 4000), 100, "crop", (512, 682)),
        ((3000, 4000), "default", "crop", (768, 1024)),
        ((1000, 9000), "model", "crop", (512, 4608)),
        ((90, 100), "default", "stretch", (448, 448)),  # more than there is
    ],
)
def test_enough_is_what_is_written_and_twice_what_is_fed(source, size, resize, pixels):
    assert required_decode_size(source, size, InputSpec(resize=resize)) == pixels


def test_enough_refuses_what_the_others_refuse():
    with pytest.raises(UsageError, match="default, full, model"):
        required_decode_size((3, 4), "big")


def photo_in_a_jpeg(path, width, height):
    """A photo, enlarged, with sharp edges and a camera's noise."""
    photo = Image.open(SAMPLES / "espresso.jpg").convert("RGB")
    pixels = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    pixels[height // 3 :, width // 4 : width // 2] *= 0.6
    pixels += np.random.default_rng(6).normal(0, 4, pixels.shape)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, "JPEG", quality=92)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("width", "height", "size", "read"),
    [
        (2000, 1504, 500, (752, 1000)),  # 500 x 376, but the network has use for 448
        (2000, 1500, 900, (750, 1000)),
        (1600, 2000, "model", (1000, 800)),
    ],
)
def test_what_is_fed_and_written_hardly_differs(tmp_path, mode, width, height, size, read):
    """Read at a half: how near the images are, and the network's input in gray levels."""
    path = tmp_path / "x.jpg"
    photo_in_a_jpeg(path, width, height)

    full = read_image(path)
    spec = InputSpec(resize=mode)
    reduced = read_reduced(path, lambda source: required_decode_size(source, size, spec))

    assert reduced.pixels.shape == (*read, 3)
    assert reduced.source == (height, width)
    one = prepare(full, spec)
    two = prepare(reduced.pixels, spec, reduced.source)
    assert two.geometry == one.geometry
    gray_level = 1 / 255 / 0.229
    assert np.abs(two.input - one.input).mean() < 0.25 * gray_level
    assert np.abs(two.input - one.input).max() < 7.5 * gray_level

    drawn_one, drawn_two = canvas(full, one, size), canvas(reduced.pixels, two, size)
    assert drawn_two.geometry == drawn_one.geometry
    assert drawn_two.shape == drawn_one.shape
    error = drawn_two.image.astype(float) - drawn_one.image
    assert 10 * np.log10(255**2 / (error**2).mean()) > 46


EVEN = st.integers(150, 210).map(lambda half: 2 * half)


@given(EVEN, EVEN, st.integers(1, 8))
@settings(max_examples=40)
def test_nothing_moves_when_a_jpeg_is_read_reduced(width, height, orientation):
    """An edge near the far corner, read at a half: it stays within a tenth of a written pixel."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height - 40 :] = 200
    pixels[:, width - 40 :] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=98, subsampling=0, exif=exif)
    spec = InputSpec(32, 32)

    with tempfile.NamedTemporaryFile() as stored:
        stored.write(file.getbuffer())
        stored.flush()
        full = read_image(stored.name)
        reduced = read_reduced(stored.name, lambda source: required_decode_size(source, 90, spec))

    assert reduced.source == full.shape[:2]
    assert reduced.pixels.shape[0] < full.shape[0] / 1.9
    one = canvas(full, prepare(full, spec), 90)
    two = canvas(reduced.pixels, prepare(reduced.pixels, spec, source=reduced.source), 90)
    assert one.shape == two.shape
    for axis in (0, 1):  # the mass of the bright part along each axis, in written pixels
        difference = one.image.astype(float).mean(axis=(axis, 2)) - two.image.mean(axis=(axis, 2))
        assert abs(difference.sum()) / 200 < 0.1


# --- the way back --------------------------------------------------------------------------------


def centroid(field):
    """Center of mass in continuous coordinates: pixel i has its mass at i + 0.5."""
    field = field / field.sum()
    return (
        (field.sum(1) * (np.arange(field.shape[0]) + 0.5)).sum(),
        (field.sum(0) * (np.arange(field.shape[1]) + 0.5)).sum(),
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", ["full", 301])
def test_a_spot_returns_to_its_own_place(shape, mode, size):
    """There and back through the network's pixels moves a spot by less than 0.1 of their size."""
    height, width = shape
    y, x = 0.46 * height, 0.47 * width  # well inside the crop, and not central
    radius = 0.08 * min(shape)
    rows, columns = np.ogrid[:height, :width]
    spot = np.exp(-((rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2) / (2 * radius**2))
    image = np.repeat(np.rint(255 * spot)[:, :, None], 3, axis=2).astype(np.uint8)

    prepared = prepare(image, InputSpec(resize=mode))
    drawn_on = canvas(image, prepared, size)
    field = prepared.seen[:, :, 0].astype(np.float32)
    back, seen = to_image(field, drawn_on.geometry, drawn_on.image.shape[:2])

    scale_y, scale_x = back.shape[0] / height, back.shape[1] / width
    found = centroid(np.maximum(back - 8, 0))
    where = centroid(np.maximum(drawn_on.image[:, :, 0].astype(float) - 8, 0))
    y0, x0, y1, x1 = prepared.geometry.box
    cell = ((y1 - y0) / 224 * scale_y, (x1 - x0) / 224 * scale_x)
    for ours, theirs, true, pixel in zip(
        found, where, (y * scale_y, x * scale_x), cell, strict=True
    ):
        assert abs(ours - theirs) < 0.1 * max(pixel, 1)
        assert abs(ours - true) < 0.1 * max(pixel, 1)
    assert seen.shape == back.shape


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(301, 517), (640, 427), (99, 100)])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_edge_returns_to_its_own_place(shape, mode, axis):
    image = np.zeros((*shape, 3), np.uint8)
    edge = shape[axis] * 45 // 100
    image[(slice(None),) * axis + (slice(edge, None),)] = 200

    prepared = prepare(image, InputSpec(resize=mode))
    back, _ = to_image(
        prepared.seen[:, :, 0].astype(np.float32), prepared.geometry, image.shape[:2]
    )

    middle = np.take(back, shape[1 - axis] // 2, axis=1 - axis)
    above = int(np.argmax(middle >= 100))  # first pixel beyond half height
    below = middle[above - 1]
    crossing = above - 0.5 + (100 - below) / (middle[above] - below)  # between pixel centers
    assert abs(crossing - edge) < 0.6


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resolution", [(1, 1), (7, 7), (14, 14), (224, 224)])
def test_a_constant_map_is_constant_up_to_the_border(shape, mode, resolution):
    geometry = prepare(constant(*shape), InputSpec(resize=mode)).geometry

    back, seen = to_image(np.full((*resolution, 3), 0.7, np.float32), geometry, shape)

    np.testing.assert_allclose(back[seen], 0.7, rtol=1e-5)
    assert (back[~seen] == 0).all()
    assert seen.all() == (mode == "stretch")


def test_crop_marks_what_the_network_saw():
    # Its box is (32, 288, 480, 736).
    geometry = prepare(constant(512, 1024), InputSpec(resize="crop")).geometry

    back, seen = to_image(np.ones((7, 7)), geometry, (256, 512))

    expected = np.zeros((256, 512), bool)
    expected[16:240, 144:368] = True
    assert (seen == expected).all()
    assert (back[~seen] == 0).all()
    np.testing.assert_allclose(back[seen], 1, rtol=1e-6)


def test_a_ramp_stays_a_ramp_between_the_outer_centers():
    """Bilinear interpolation reproduces a linear function, so the result is known exactly."""
    geometry = Geometry((60, 90), (0.0, 0.0, 60.0, 90.0), (6, 9))
    rows, columns = np.mgrid[:6, :9] + 0.5  # centers, in the map's pixels
    field = 2 * rows - 3 * columns

    back, _ = to_image(field, geometry, (60, 90))

    fine_rows, fine_columns = (np.mgrid[:60, :90] + 0.5) / 10
    expected = 2 * np.clip(fine_rows, 0.5, 5.5) - 3 * np.clip(fine_columns, 0.5, 8.5)
    np.testing.assert_allclose(back, expected, atol=1e-4)


def test_enlarging_by_hand():
    """Two samples onto four pixels: centers at -0.25, 0.25, 0.75, 1.25 of the samples' grid."""
    geometry = Geometry((4, 4), (0.0, 0.0, 4.0, 4.0), (2, 2))

    back, _ = to_image(np.array([[0.0, 4.0], [0.0, 4.0]]), geometry, (4, 4))

    np.testing.assert_allclose(back, [[0, 1, 3, 4]] * 4, atol=1e-6)
    assert back.dtype == np.float32


@pytest.mark.parametrize("shape", [(14, 14), (40, 33), (301, 517), (768, 1024)])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (5,)])
def test_enlarging_is_bilinear_as_pillow_does_it(shape, channels):
    field = np.random.default_rng(8).standard_normal((14, 14, *channels)).astype(np.float32)
    geometry = Geometry((3000, 4000), (0.0, 0.0, 3000.0, 4000.0), (224, 224))

    back, seen = to_image(field, geometry, shape)

    assert back.shape == (*shape, *channels)
    assert back.dtype == np.float32
    assert seen.all()
    for plane, ours in zip(
        np.moveaxis(np.atleast_3d(field), 2, 0),
        np.moveaxis(np.atleast_3d(back), 2, 0),
        strict=True,
    ):
        theirs = Image.fromarray(plane).resize(shape[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(ours, np.asarray(theirs), atol=2e-5)


def test_a_crop_of_almost_everything_is_drawn_as_everything():
    """Two ways of enlarging, one for the whole image and one for a part, meet in the limit."""
    field = np.random.default_rng(9).standard_normal((14, 14, 3)).astype(np.float32)
    whole = Geometry((300, 400), (0.0, 0.0, 300.0, 400.0), (14, 14))
    almost = Geometry((300, 400), (0.0, 0.0, 300.0, 400.0 + 1e-7), (14, 14))

    one, _ = to_image(field, whole, (150, 200))
    two, _ = to_image(field, almost, (150, 200))

    np.testing.assert_allclose(one, two, atol=2e-5)


def test_shrinking_loses_no_pixel():
    """Signed noise shrinks to its average: no sample falls between two results."""
    field = np.zeros((100, 100), np.float32)
    field[::2] = 1.0
    geometry = Geometry((100, 100), (0.0, 0.0, 100.0, 100.0), (100, 100))

    back, _ = to_image(field, geometry, (10, 10))

    np.testing.assert_allclose(back, 0.5, atol=0.03)


def test_channels_do_not_mix():
    field = np.random.default_rng(5).standard_normal((14, 14, 3)).astype(np.float32)
    geometry = prepare(constant(100, 71), InputSpec(resize="crop")).geometry

    together, _ = to_image(field, geometry, (100, 71))

    for channel in range(3):
        alone, _ = to_image(field[:, :, channel], geometry, (100, 71))
        np.testing.assert_allclose(together[:, :, channel], alone, atol=1e-6)


def test_to_image_refuses_other_shapes():
    geometry = Geometry((4, 4), (0.0, 0.0, 4.0, 4.0), (2, 2))
    with pytest.raises(MapError, match=r"\(4,\)"):
        to_image(np.zeros(4), geometry, (4, 4))
    with pytest.raises(MapError, match=r"\(0, 3\)"):
        to_image(np.zeros((0, 3)), geometry, (4, 4))


@pytest.mark.parametrize("shape", [(1, 20000, 3), (20000, 1, 3)])
def test_a_sliver_cannot_be_cut_to_its_center(shape):
    """Its short side would be scaled to 256 pixels, and its long one to five million."""
    sliver = np.zeros(shape, np.uint8)
    with pytest.raises(ImageError, match="use --resize stretch"):
        prepare(sliver, InputSpec(resize="crop"))
    assert prepare(sliver).input.shape == (3, 224, 224)
