"""Images of any number of channels, and of more than 8 bits, as networks are fed them.

Expected are the numbers that were written, scaled by NumPy in float64: images have the network's
size, so that nothing is resized.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import ImageError, UsageError
from cnnviz.images.decode import decode_image, read_image
from cnnviz.images.in_memory import held_image
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.loading import load_image
from cnnviz.images.preprocessing import prepare
from cnnviz.images.samples import Samples, fit_channels

HEIGHT, WIDTH = 6, 9
#: Float32 rounds four times, numbers below 8 to 5e-7, one of which is divided by a std of 1/8; a
#: level of 16 bits is 1.5e-5.
ROUNDING = {"rtol": 5e-7, "atol": 4e-6}
RNG = np.random.default_rng(0)
MEAN, STD = (0.25, 0.5, 0.125, 0.75, 0.375, 0.0), (0.5, 0.25, 2.0, 0.125, 1.0, 4.0)


def spec(count, **more):
    """Of a network that takes so many channels; powers of two, which do not round."""
    return InputSpec(HEIGHT, WIDTH, MEAN[:count], STD[:count], **more)


def numbers(dtype, channels, *, high=None):
    """Random numbers (H, W, C) of the whole range of a type; floats from -3 to 5."""
    dtype = np.dtype(dtype)
    shape = (HEIGHT, WIDTH, channels)
    if dtype.kind == "f":
        return RNG.uniform(-3, 5, shape).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, high or info.max, shape, dtype, endpoint=True)


def fed(values, low, high):
    """What the network has to be fed, (C, H, W)."""
    scaled = (values.astype(np.float64) - low) / (high - low)
    channels = values.shape[2]
    return ((scaled - MEAN[:channels]) / STD[:channels]).transpose(2, 0, 1)


def load(data, wanted):
    """The network's input, and the canvas, of the bytes of a file."""
    said = []
    prepared, canvas = load_image(data, wanted, "full", remark=said.append)
    assert not said
    return prepared, canvas


def check(data, values, low, high, **more):
    """That a file of these numbers is fed as it should be."""
    prepared, _ = load(data, spec(values.shape[2], **more))
    assert prepared.input.dtype == np.float32
    np.testing.assert_allclose(prepared.input, fed(values, low, high), **ROUNDING)


def npy(values, **kwargs):
    file = io.BytesIO()
    np.save(file, values, **kwargs)
    return file.getvalue()


def tiff(pages, *, order="<", compression=1, planar=1, predictor=1, tiled=False, photometric=None):
    """A TIFF of pages (H, W, C), as the specification says, one strip or tile a page or plane."""
    kinds = {"u": 1, "i": 2, "f": 3}
    data = bytearray({"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 0))
    link = 4
    for page in pages:
        height, width, bands = page.shape
        planes = [page[:, :, [band]] for band in range(bands)] if planar == 2 else [page]
        side = (16, 16) if tiled else (height, width)
        places, counts = [], []
        for plane in planes:
            whole = np.zeros((*side, plane.shape[2]), page.dtype)
            whole[:height, :width] = plane
            packed = encoded(whole, order, predictor)
            packed = zlib.compress(packed) if compression == 8 else packed
            places.append(len(data))
            counts.append(len(packed))
            data += packed
            data += bytes(len(data) % 2)
        photo = photometric if photometric is not None else (2 if bands in (3, 4) else 1)
        colors = 3 if photo == 2 else 1
        entries = {
            256: ("I", [width]),
            257: ("I", [height]),
            258: ("H", [8 * page.itemsize] * bands),
            259: ("H", [compression]),
            262: ("H", [photo]),
            277: ("H", [bands]),
            284: ("H", [planar]),
            317: ("H", [predictor]),
            339: ("H", [kinds[page.dtype.kind]] * bands),
        }
        if bands > colors:
            entries[338] = ("H", [0] * (bands - colors))
        if tiled:
            entries.update({322: ("I", [16]), 323: ("I", [16])})
            entries.update({324: ("I", places), 325: ("I", counts)})
        else:
            entries.update({273: ("I", places), 278: ("I", [height]), 279: ("I", counts)})
        struct.pack_into(order + "I", data, link, len(data))
        start = len(data)
        extra = start + 2 + 12 * len(entries) + 4
        directory, behind = struct.pack(order + "H", len(entries)), b""
        for tag, (layout, values) in sorted(entries.items()):
            packed = struct.pack(f"{order}{len(values)}{layout}", *values)
            kind = {"H": 3, "I": 4}[layout]
            directory += struct.pack(order + "HHI", tag, kind, len(values))
            if len(packed) <= 4:
                directory += packed.ljust(4, b"\0")
            else:
                directory += struct.pack(order + "I", extra + len(behind))
                behind += packed + bytes(len(packed) % 2)
        link = start + len(directory)
        data += directory + bytes(4) + behind
    return bytes(data)


def encoded(values, order, predictor):
    """A strip's bytes; predictors 2 (whole numbers) and 3 (floats) of TIFF."""
    if predictor == 1:
        return values.astype(values.dtype.newbyteorder(order)).tobytes()
    height, width, bands = values.shape
    if predictor == 2:
        whole = values.view(f"u{values.itemsize}")
        whole = np.diff(whole, axis=1, prepend=whole.dtype.type(0))
        return whole.astype(whole.dtype.newbyteorder(order)).tobytes()
    big = values.astype(values.dtype.newbyteorder(">")).reshape(height, -1)
    apart = big.view(np.uint8).reshape(height, width * bands, values.itemsize)
    rows = apart.transpose(0, 2, 1).reshape(height, -1, bands)
    return np.diff(rows, axis=1, prepend=np.uint8(0)).tobytes()


# --- 16 bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_keep_all_of_them(channels, suffix):
    values = numbers(np.uint16, channels)
    bgr = values[:, :, ::-1]
    done, data = cv2.imencode(suffix, bgr)
    assert done
    check(data.tobytes(), values, 0, 65535)
    check(data.tobytes(), values, 100, 4095, range=(100, 4095))
    # ... and what people are shown and the 8 bits of read_image() are their rounded bytes.
    _, canvas = load(data.tobytes(), spec(channels))
    rounded = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(canvas.image, np.broadcast_to(rounded, canvas.image.shape))


@pytest.mark.parametrize("white", [65535, 4095, 300])
@pytest.mark.parametrize("channels", [1, 3])
def test_pnm_of_more_than_8_bits_keeps_them(white, channels):
    values = numbers(np.uint16, channels, high=white)
    kind = {1: b"P5", 3: b"P6"}[channels]
    data = kind + b" %d %d %d\n" % (WIDTH, HEIGHT, white) + values.astype(">u2").tobytes()
    check(data, values, 0, white)
    check(data, values, 0, 1000, range=(0, 1000))


def test_transparency_of_16_bits_is_laid_over_white():
    rgba = numbers(np.uint16, 4)
    done, data = cv2.imencode(".png", rgba[:, :, [2, 1, 0, 3]])
    assert done
    alpha = rgba[:, :, 3:] / 65535
    over = rgba[:, :, :3] * alpha + 65535 * (1 - alpha)
    prepared, _ = load(data.tobytes(), spec(3))
    # Rounded to a whole level of 16 bits, and divided by the smallest std.
    np.testing.assert_allclose(prepared.input, fed(over, 0, 65535), atol=1 / 65535 / 0.25)


def test_8_bits_are_what_they_were():
    """To the last bit, and whether their own range is given or none."""
    values = numbers(np.uint8, 3)
    done, data = cv2.imencode(".png", values[:, :, ::-1])
    assert done
    expected = prepare(values, spec(3)).input
    for given in (spec(3), spec(3, range=(0, 255))):
        np.testing.assert_array_equal(load(data.tobytes(), given)[0].input, expected)
    check(data.tobytes(), values, 0, 100, range=(0, 100))


# --- floats and other numbers --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "u4"])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("file", ["tiff", "npy"])
def test_numbers_of_other_kinds_need_a_range(dtype, channels, file):
    values = numbers(dtype, channels)
    data = tiff([values]) if file == "tiff" else npy(values)
    kind = np.dtype(dtype).name
    with pytest.raises(
        ImageError, match=rf"values are {kind}, and nothing says .*--range LOW:HIGH"
    ):
        load(data, spec(channels))
    low, high = (-2.0, 3.0) if dtype[0] == "f" else (-100.0, 2.0**30)
    check(data, values, low, high, range=(low, high))


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("f4", {"order": ">"}),
        ("f4", {"compression": 8, "predictor": 3}),
        ("f8", {"compression": 8, "predictor": 3, "order": ">"}),
        ("f2", {"compression": 8, "predictor": 3, "planar": 2}),
        ("u4", {"compression": 8, "predictor": 2}),
        ("f4", {"compression": 8, "predictor": 2, "order": ">"}),
        ("i2", {"planar": 2, "tiled": True}),
        ("f4", {"compression": 8, "tiled": True}),
    ],
)
@pytest.mark.parametrize("channels", [2, 3, 6])
def test_layouts_of_tiff(dtype, options, channels):
    values = numbers(dtype, channels)
    check(tiff([values], **options), values, -2, 3, range=(-2, 3))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_counted(wrong):
    values = numbers("f4", 2)
    values[1, 2, 0] = values[3, 4, 1] = wrong
    with pytest.raises(ImageError, match="2 of its 108 values are NaN or infinite"):
        load(npy(values), spec(2, range=(0, 1)))
    values = numbers("f8", 2)
    values[0, 0, 0] = 1e200
    with pytest.raises(ImageError, match="too far from 0 and 1, which become 0 and 1"):
        load(npy(values), spec(2, range=(0, 1)))


# --- as many channels as the network takes -------------------------------------------------------


@pytest.mark.parametrize("channels", [2, 3, 5, 6])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_bands_or_gray_pages_of_a_tiff(channels, dtype):
    """The pages of one file are the channels of one image: microscopes write them so."""
    values = numbers(dtype, channels)
    white = np.iinfo(dtype).max
    pages = [values[:, :, [channel]] for channel in range(channels)]
    for data in (tiff(pages), tiff([values], photometric=1)):
        check(data, values, 0, white)
    with pytest.raises(ImageError, match=f"it has {channels} channels, and the network takes 4"):
        load(tiff([values], photometric=1), spec(4))
    with pytest.raises(ImageError, match="it has 1 channel, and the network takes 4"):
        load(tiff(pages), spec(4))
    if channels > 3:
        for other in (1, 3):
            with pytest.raises(ImageError, match=f"{channels} channels, and the network takes"):
                load(tiff([values], photometric=1), spec(other))


def test_colors_of_a_tiff_with_other_bands():
    """Near infrared, say, which a color network does not take."""
    values = numbers(np.uint8, 4)
    check(tiff([values], photometric=2), values, 0, 255)
    found = load(tiff([values], photometric=2), spec(3))[0].input
    np.testing.assert_array_equal(found, prepare(values[:, :, :3].copy(), spec(3)).input)


def test_pages_that_are_no_channels():
    """Of other sizes, such as thumbnails; or in a circle: the first is the image."""
    values = numbers(np.uint8, 1)
    first = np.broadcast_to(values, (HEIGHT, WIDTH, 3))
    smaller = [values, values[::2], values[::3]]
    np.testing.assert_array_equal(load(tiff(smaller), spec(3))[1].image, first)
    around = bytearray(tiff([values]))
    (directory,) = struct.unpack_from("<I", around, 4)
    (count,) = struct.unpack_from("<H", around, directory)
    struct.pack_into("<I", around, directory + 2 + 12 * count, directory)
    np.testing.assert_array_equal(load(bytes(around), spec(1))[1].image, first)
    with pytest.raises(ImageError, match="it has 1 channel, and the network takes 5"):
        load(bytes(around), spec(5))


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_transparency_as_a_fourth_channel(suffix):
    rgba = numbers(np.uint8, 4)
    done, data = cv2.imencode(suffix, rgba[:, :, [2, 1, 0, 3]])
    assert done
    if suffix == ".png":
        check(data.tobytes(), rgba, 0, 255)
    assert load(data.tobytes(), spec(4))[0].input.shape == (4, HEIGHT, WIDTH)
    image = Image.fromarray(rgba)
    expected = fed(rgba, 0, 255)
    found = prepare(held_image(image, spec(4)), spec(4)).input
    np.testing.assert_allclose(found, expected, **ROUNDING)


def test_gray_with_transparency_as_two_channels():
    values = numbers(np.uint8, 2)
    file = io.BytesIO()
    Image.fromarray(values, "LA").save(file, "png")
    check(file.getvalue(), values, 0, 255)
    found = prepare(held_image(Image.fromarray(values, "LA"), spec(2)), spec(2)).input
    np.testing.assert_allclose(found, fed(values, 0, 255), **ROUNDING)


def test_another_number_of_channels_is_a_sentence():
    done, data = cv2.imencode(".jpg", numbers(np.uint8, 3))
    assert done
    for channels in (2, 4, 5):
        with pytest.raises(ImageError, match=f"3 channels, and the network takes {channels}: give"):
            load(data.tobytes(), spec(channels))
    with pytest.raises(ImageError, match=r"shape \(6, 9, 4\), and the network takes 5 channels"):
        load(npy(numbers("f4", 4)), spec(5, range=(0, 1)))


def test_gray_and_color_networks_take_each_others_images_at_full_depth():
    color, gray = numbers(np.uint16, 3), numbers(np.uint16, 1)
    # ITU-R BT.601's weights, as for 8 bits.
    luma = (color @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    found = load(npy(color), spec(1))[0].input
    np.testing.assert_allclose(found, fed(luma, 0, 65535), atol=1e-6)
    found = load(npy(gray), spec(3))[0].input
    expected = fed(np.repeat(gray, 3, axis=2), 0, 65535)
    np.testing.assert_allclose(found, expected, **ROUNDING)


def test_blue_first_at_full_depth():
    values = numbers(np.uint16, 3)
    found = load(npy(values), spec(3, channels="bgr"))[0].input
    np.testing.assert_allclose(found, fed(values[:, :, ::-1], 0, 65535), **ROUNDING)


# --- resizing ------------------------------------------------------------------------------------


def test_averages_of_whole_blocks_keep_their_fractions():
    """Shrunk to a third, each value is the mean of nine."""
    values = RNG.integers(0, 65536, (3 * HEIGHT, 3 * WIDTH, 5)).astype(np.uint16)
    means = values.reshape(HEIGHT, 3, WIDTH, 3, 5).astype(np.float64).mean(axis=(1, 3))
    found = load(npy(values), spec(5))[0].input
    np.testing.assert_allclose(found, fed(means, 0, 65535), rtol=1e-6, atol=1e-6)


def test_crops_are_those_of_8_bits():
    """The same part of the image: a ramp of 8 bits gives the same input, up to their rounding."""
    ramp = np.linspace(0, 255, 64 * 40).reshape(40, 64)[:, :, None].repeat(3, axis=2)
    cropping = spec(3, resize="crop")
    deep = fit_channels((ramp * 257).astype(np.uint16), 65535, cropping)
    shallow = prepare(np.rint(ramp).astype(np.uint8), cropping)
    found = prepare(deep, cropping)
    assert found.geometry == shallow.geometry
    # Two roundings to 8 bits, over the smallest std.
    np.testing.assert_allclose(found.input, shallow.input, atol=1 / 255 / 0.25)


# --- what is displayed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "display", "shown"),
    [
        (2, (), (0, 0, 0)),
        (2, (1,), (1, 1, 1)),
        (4, (), (0, 1, 2)),
        (5, (), (0, 1, 2)),
        (5, (4, 0, 2), (4, 0, 2)),
        (5, (3,), (3, 3, 3)),
    ],
)
def test_displayed_are_the_first_channels_or_those_asked_for(channels, display, shown):
    values = numbers("f4", channels)
    wanted = spec(channels, display=display, range=(-1, 3))
    prepared, canvas = load(npy(values), wanted)
    scaled = np.clip((values[:, :, list(shown)] + 1) / 4, 0, 1)
    expected = np.rint(scaled * np.float32(255)).astype(np.uint8)
    np.testing.assert_array_equal(canvas.image, expected)
    np.testing.assert_array_equal(prepared.seen, expected)


def test_channels_that_cannot_be_displayed():
    for display, said in (
        ((5,), "no channel 5 to display .* channels are 0 to 4"),
        ((0, 1), "one channel or three; got 0,1"),
    ):
        with pytest.raises(UsageError, match=said):
            spec(5, display=display)
    for channels, kind in ((1, "gray"), (3, "color")):
        with pytest.raises(UsageError, match=f"for a {kind} network are displayed as they are"):
            spec(channels, display=(0,))


def test_ranges_and_orders_that_mean_nothing():
    for given in ((1, 0), (1, 1), (0, np.inf), (np.nan, 1)):
        with pytest.raises(UsageError, match="from a lower to a higher number"):
            spec(3, range=given)
    with pytest.raises(UsageError, match="5 channels takes no colors in any order"):
        spec(5, channels="bgr")


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_channels_last_or_first(channels):
    values = numbers(np.uint16, channels)
    for data in (
        npy(values),
        npy(values.transpose(2, 0, 1)),
        npy(np.asfortranarray(values)),
        npy(values.astype(">u2")),
    ):
        check(data, values, 0, 65535)
    for given in (values, values.transpose(2, 0, 1)):
        found = prepare(held_image(given, spec(channels)), spec(channels)).input
        np.testing.assert_allclose(found, fed(values, 0, 65535), **ROUNDING)


def test_where_both_would_do_channels_come_last():
    values = RNG.integers(0, 255, (5, 4, 5)).astype(np.uint8)
    wanted = InputSpec(5, 4, MEAN[:5], STD[:5])
    expected = fed(values, 0, 255)
    assert load_image(npy(values), wanted, "full", remark=print)[0].input.shape
    for found in (
        load_image(npy(values), wanted, "full", remark=print)[0],
        prepare(held_image(values, wanted), wanted),
    ):
        np.testing.assert_allclose(found.input, expected, **ROUNDING)


def test_npz_with_one_array():
    values = numbers("f4", 2)
    file = io.BytesIO()
    np.savez_compressed(file, image=values)
    check(file.getvalue(), values, 0, 1, range=(0, 1))
    file = io.BytesIO()
    np.savez(file, a=values, b=values)
    with pytest.raises(ImageError, match="NPZ with 2 arrays; save the image's alone"):
        load(file.getvalue(), spec(2))


def test_floats_from_python_go_from_0_to_1():
    values = np.abs(numbers("f4", 2)) / 8
    found = prepare(held_image(values, spec(2)), spec(2)).input
    np.testing.assert_allclose(found, fed(values, 0, 1), **ROUNDING)
    with pytest.raises(ImageError, match=r"go from .* to .*: give the image as it was .* or its r"):
        held_image(values - 1, spec(2))
    found = prepare(held_image(values - 1, spec(2, range=(-1, 0))), spec(2)).input
    np.testing.assert_allclose(found, fed(values, 0, 1), rtol=1e-5, atol=1e-6)


def test_pillows_numbers_with_a_range():
    values = numbers("f4", 1)
    image = Image.fromarray(values[:, :, 0])
    found = prepare(held_image(image, spec(1, range=(-3, 5))), spec(1)).input
    np.testing.assert_allclose(found, fed(values, -3, 5), **ROUNDING)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (npy(np.array([[{}]], object), allow_pickle=True), "array of Python objects"),
        (npy(np.zeros((3, 3), bool)), "array of bool; an image is one of whole numbers or floats"),
        (npy(np.zeros((3, 3), complex)), "array of complex128"),
        (npy(np.zeros((3, 3), "U9")), "array of <U9"),
        (npy(np.zeros((3, 3), [("a", "u1")])), "array of .*u1"),
        (npy(np.zeros(5)), r"shape \(5,\); an image has shape \(H, W\)"),
        (npy(np.zeros((2, 3, 4, 5))), r"shape \(2, 3, 4, 5\); an image has"),
        (npy(np.zeros((0, 3))), "at least one pixel"),
        (npy(np.zeros((9, 9)))[:-1], "NPY is truncated: it has fewer numbers"),
        (npy(np.zeros((9, 9)))[:40], "NPY is damaged"),
        (b"\x93NUMPY\1\0v\0{'descr'", "NPY is damaged"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff{" + b"(" * 9999, "NPY is damaged"),
    ],
)
def test_arrays_that_are_no_images(data, said):
    with pytest.raises(ImageError, match=said):
        load(data, spec(2, range=(0, 1)))


def test_a_header_alone_allocates_nothing():
    """It says a terabyte, and the file has nothing."""
    whole = npy(np.zeros((10, 10), np.uint8))
    huge = whole.replace(b"(10, 10), }" + b" " * 12, b"(1000000, 1000000), }  ")
    assert len(huge) == len(whole)
    with pytest.raises(ImageError, match="fewer numbers than its header says"):
        decode_image(huge, channels=1)


def test_an_archive_is_not_unpacked_beyond_the_limit():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(np.zeros((3000, 3000))))
    with pytest.raises(ImageError, match="more memory than an image of the allowed size"):
        decode_image(file.getvalue(), max_pixels=1000, channels=1)
    with pytest.raises(ImageError, match="9,000,000 in all, and the limit is 1,000"):
        decode_image(npy(np.zeros((3000, 3000), np.uint8)), max_pixels=1000, channels=1)


def test_damaged_arrays_never_raise_anything_else():
    whole = [npy(numbers("f4", 2)), npy(numbers("f4", 2), allow_pickle=False)]
    file = io.BytesIO()
    np.savez_compressed(file, image=numbers("u2", 2))
    whole.append(file.getvalue())
    whole.append(tiff([numbers("f4", 1)] * 2, compression=8, predictor=3))
    random = np.random.default_rng(1)
    for data in whole:
        for _ in range(300):
            mutated = bytearray(data)
            for place in random.integers(0, min(len(data), 400), 3):
                mutated[place] = random.integers(0, 256)
            try:
                load_image(bytes(mutated), spec(2, range=(0, 1)), 8, remark=len)
            except ImageError:
                continue


def test_samples_hold_what_they_were_given():
    values = numbers("u2", 5)
    found = fit_channels(values, 65535, spec(5))
    assert isinstance(found, Samples)
    assert (found.shape, found.channels, found.low, found.high) == ((HEIGHT, WIDTH), 5, 0, 65535)
    assert found.values is values


def test_read_image_reads_arrays_of_8_and_16_bits(tmp_path):
    values = numbers("u2", 3)
    (tmp_path / "a.npy").write_bytes(npy(values))
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), np.rint(values / 257))
    (tmp_path / "a.npy").write_bytes(npy(values.astype(float)))
    with pytest.raises(ImageError, match="float64, whose black and white nothing says"):
        read_image(tmp_path / "a.npy")
