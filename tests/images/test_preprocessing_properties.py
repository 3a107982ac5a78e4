"""Geometry for images, networks and results of any size: what goes in comes back to its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnviz.images.input_spec import INTERPOLATIONS, RESIZE_MODES
from cnnviz.images.preprocessing import (
    Geometry,
    InputSpec,
    canvas,
    output_shape,
    prepare,
    required_decode_size,
    to_image,
)

BOUNDED = settings(max_examples=120, derandomize=True)

sides = st.one_of(st.integers(1, 12), st.integers(1, 300))
shapes = st.tuples(sides, sides)
modes = st.sampled_from(RESIZE_MODES)
fractions = st.one_of(st.none(), st.just(1.0), st.floats(0.4, 1.0))
ways = st.fixed_dictionaries(
    {
        "resize": modes,
        "crop_fraction": fractions,
        "interpolation": st.sampled_from(INTERPOLATIONS),
    }
)


@st.composite
def cases(draw):
    """An image's shape and a network's, not so unlike that a crop would need a huge image."""
    source, network = draw(shapes), draw(st.tuples(st.integers(1, 64), st.integers(1, 64)))
    stretch = (source[0] / network[0]) / (source[1] / network[1])
    assume(1 / 40 < stretch < 40)
    return source, InputSpec(*network)


def blank(shape):
    return np.zeros((*shape, 3), np.uint8)


@given(cases(), ways)
@BOUNDED
def test_the_box_lies_in_the_middle_of_the_image(case, way):
    source, spec = case[0], replace(case[1], **way)
    geometry = prepare(blank(source), spec).geometry
    (top, left, bottom, right), (height, width) = geometry.box, source

    assert geometry.source == source
    assert geometry.network == (spec.height, spec.width)
    assert -1e-9 <= top < bottom <= height + 1e-9
    assert -1e-9 <= left < right <= width + 1e-9
    # The center is kept to within half a pixel of what was scaled; all of it where stretched, or
    # where a square is cropped to all of it.
    assert abs(top - (height - bottom)) <= (bottom - top) / spec.height + 1e-9
    assert abs(left - (width - right)) <= (right - left) / spec.width + 1e-9
    squares = height == width and spec.height == spec.width
    if spec.kept == 1 and (spec.resize == "stretch" or squares):
        assert geometry.box == (0, 0, height, width)


@given(cases(), ways)
@BOUNDED
def test_crop_keeps_the_aspect(case, way):
    """A pixel of the network covers as much of the image's height as of its width."""
    source, spec = case[0], replace(case[1], **{**way, "resize": "crop"})
    # Where the image is scaled to a few pixels rounding alone changes its aspect.
    least = min(spec.height, spec.width)
    assume(least >= 8)
    geometry = prepare(blank(source), spec).geometry
    top, left, bottom, right = geometry.box
    down, across = (bottom - top) / spec.height, (right - left) / spec.width

    assert abs(down / across - 1) < 1.2 / least
    # The part of the image that is seen, of the side that fits the network best.
    fraction = max((bottom - top) / source[0], (right - left) / source[1])
    assert abs(fraction - (way["crop_fraction"] or 0.875)) < 1.2 / least


@given(cases(), st.tuples(st.integers(1, 14), st.integers(1, 14)), shapes, modes)
@BOUNDED
def test_a_constant_map_comes_back_constant_where_it_was_seen(case, layer, result, mode):
    source, spec = case
    geometry = prepare(blank(source), replace(spec, resize=mode)).geometry

    drawn, seen = to_image(np.full(layer, 2.5, np.float32), geometry, result)

    assert drawn.shape == seen.shape == result
    assert np.abs(drawn[seen] - 2.5).max(initial=0) < 1e-5
    assert (drawn[~seen] == 0).all()
    # What was seen: pixels whose center lies in the box.
    rows = (np.arange(result[0]) + 0.5) * source[0] / result[0]
    columns = (np.arange(result[1]) + 0.5) * source[1] / result[1]
    top, left, bottom, right = geometry.box
    margin = 1e-6 * max(source)
    inside = ((rows > top + margin) & (rows < bottom - margin))[:, None] & (
        (columns > left + margin) & (columns < right - margin)
    )
    outside = ((rows < top - margin) | (rows > bottom + margin))[:, None] | (
        (columns < left - margin) | (columns > right + margin)
    )
    assert seen[inside].all()
    assert not seen[outside].any()


@given(cases(), st.tuples(st.integers(2, 14), st.integers(2, 14)), shapes, modes)
@BOUNDED
def test_a_map_never_goes_beyond_its_values(case, layer, result, mode):
    source, spec = case
    geometry = prepare(blank(source), replace(spec, resize=mode)).geometry
    values = np.random.default_rng(layer[0] * 97 + layer[1]).random(layer, np.float32)

    drawn, seen = to_image(values, geometry, result)

    assert drawn[seen].min(initial=1) >= values.min() - 1e-5
    assert drawn[seen].max(initial=0) <= values.max() + 1e-5


@given(cases(), st.tuples(st.integers(2, 14), st.integers(2, 14)), shapes, modes)
@BOUNDED
def test_mirroring_and_turning_the_map_mirrors_and_turns_the_result(case, layer, result, mode):
    """There is no preferred corner: half a pixel to one side would show here."""
    source, spec = case
    height, width = source
    geometry = prepare(blank(source), replace(spec, resize=mode)).geometry
    top, left, bottom, right = geometry.box
    box = (height - bottom, width - right, height - top, width - left)
    other = Geometry(source, box, geometry.network)
    values = np.random.default_rng(layer[0] * 89 + layer[1]).random(layer, np.float32)

    drawn, seen = to_image(values, geometry, result)
    turned, also = to_image(values[::-1, ::-1], other, result)

    both = seen & also[::-1, ::-1]
    assert seen.sum() - both.sum() <= max(result) * 2  # a center right on an edge
    assert np.abs(drawn - turned[::-1, ::-1])[both].max(initial=0) < 1e-4


@given(cases(), ways, st.integers(0, 10**6))
@BOUNDED
def test_a_spot_that_the_network_sees_returns_to_where_it_was(case, way, seed):
    """From an image through its preparation and back: to within a pixel of the network."""
    source, spec = case[0], replace(case[1], **way)
    rng = np.random.default_rng(seed)
    geometry = prepare(blank(source), spec).geometry
    top, left, bottom, right = geometry.box
    size = max(1, round((bottom - top) / spec.height)), max(1, round((right - left) / spec.width))
    row = int(rng.integers(0, max(1, source[0] - size[0] + 1)))
    column = int(rng.integers(0, max(1, source[1] - size[1] + 1)))
    middle = row + size[0] / 2, column + size[1] / 2
    assume(top < middle[0] < bottom and left < middle[1] < right)
    image = blank(source)
    image[row : row + size[0], column : column + size[1]] = 255

    seen = prepare(image, spec).seen[:, :, 0].astype(np.float32)
    assume(seen.max() > 30)
    drawn, _ = to_image(seen, geometry, source)

    weights = drawn / drawn.sum()
    center = (
        (weights.sum(1) * (np.arange(source[0]) + 0.5)).sum(),
        (weights.sum(0) * (np.arange(source[1]) + 0.5)).sum(),
    )
    pixel = (bottom - top) / spec.height, (right - left) / spec.width
    for axis in (0, 1):
        assert abs(center[axis] - middle[axis]) <= max(1.0, pixel[axis]) + 0.5


@given(cases(), ways)
@BOUNDED
def test_a_plain_image_stays_plain(case, way):
    source, spec = case[0], replace(case[1], **way)
    prepared = prepare(np.full((*source, 3), 137, np.uint8), spec)

    assert (prepared.seen == 137).all()
    expected = (137 / 255 - np.array(spec.mean)) / np.array(spec.std)
    assert prepared.input.shape == (3, spec.height, spec.width)
    np.testing.assert_allclose(prepared.input[:, 0, 0], expected, atol=1e-5)
    assert (prepared.input == prepared.input[:, :1, :1]).all()


@given(
    st.tuples(st.integers(1, 40_000), st.integers(1, 40_000)),
    st.one_of(st.just("default"), st.just("full"), st.integers(1, 4096)),
)
@BOUNDED
def test_results_keep_the_images_shape(source, size):
    height, width = output_shape(source, size)

    assert min(height, width) >= 1
    long_side = {"default": min(1024, max(source)), "full": max(source)}.get(size, size)
    assert max(height, width) == long_side
    # Rounded to whole pixels, each side is what the other says.
    assert abs(height - source[0] * long_side / max(source)) <= 1
    assert abs(width - source[1] * long_side / max(source)) <= 1


@given(cases(), modes, st.one_of(st.just("default"), st.just("model"), st.integers(1, 400)))
@BOUNDED
def test_enough_is_at_least_what_is_drawn_and_fed(case, mode, size):
    source, spec = case
    needed = required_decode_size(source, size, replace(spec, resize=mode))
    prepared = prepare(blank(source), replace(spec, resize=mode))
    drawn = canvas(blank(source), prepared, size)

    assert drawn.shape == output_shape(source, size, spec)
    assert drawn.geometry.source == (source if size != "model" else (spec.height, spec.width))
    if size != "model":
        assert needed[0] >= drawn.shape[0]
        assert needed[1] >= drawn.shape[1]
    if mode == "stretch":
        assert needed[0] >= 2 * spec.height
        assert needed[1] >= 2 * spec.width
