"""Image files decoded to pixels: Pillow says what is in a file."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cnnviz.errors import ImageError
from cnnviz.images import decode
from cnnviz.images.decode import decode_image, opencv_log, read_image, read_reduced
from cnnviz.images.sources import find_sources


@pytest.fixture(scope="module")
def image():
    """A smooth color image, taller than wide on no axis, without any symmetry."""
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((56, 40), Image.Resampling.BICUBIC)


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data):
    """RGB over white, upright, as Pillow sees the first frame."""
    image = Image.open(io.BytesIO(data))
    image.load()
    if image.format != "TIFF":  # which Pillow turns while loading (and old versions then again)
        image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def assert_like_pillow(data, tolerance=0):
    ours, theirs = decode_image(data).pixels, by_pillow(data)
    assert ours.dtype == np.uint8
    assert ours.flags["C_CONTIGUOUS"]
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= tolerance


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "PNG", {}),
        ("L", "PNG", {}),
        ("LA", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("P", "PNG", {"transparency": 3}),
        ("1", "PNG", {}),
        ("L", "PNG", {"transparency": 125}),
        ("1", "PNG", {"transparency": 0}),
        ("RGB", "PNG", {"transparency": (0, 0, 0)}),
        ("RGB", "BMP", {}),
        ("P", "BMP", {}),
        ("1", "BMP", {}),
        ("L", "BMP", {}),
        ("RGB", "TIFF", {}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("RGB", "TIFF", {"compression": "tiff_deflate"}),
        ("RGB", "TIFF", {"compression": "packbits"}),
        ("L", "TIFF", {}),
        ("P", "TIFF", {}),
        ("1", "TIFF", {}),
        ("CMYK", "TIFF", {}),
        ("RGB", "WEBP", {"lossless": True}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("P", "GIF", {}),
        ("P", "GIF", {"transparency": 3}),
        ("L", "GIF", {"interlace": False}),
        ("RGB", "JPEG", {"quality": 95}),
        ("RGB", "JPEG", {"quality": 95, "progressive": True}),
        ("RGB", "JPEG", {"quality": 95, "subsampling": 0}),
        ("L", "JPEG", {"quality": 95}),
        ("CMYK", "JPEG", {"quality": 95}),  # Adobe's, inverted
    ],
)
def test_reads_what_pillow_reads(image, mode, kind, options):
    if mode == "RGBA":
        variant = image.copy()
        variant.putalpha(Image.linear_gradient("L").resize(image.size))
    else:
        variant = image.convert(mode)
    # The two may be linked to different versions of libjpeg, and divide alpha differently.
    exact = kind != "JPEG" and "A" not in mode and mode != "CMYK"
    tolerance = 0 if exact else (40 if "progressive" in options else 4)
    assert_like_pillow(encode(variant, kind, **options), tolerance)


def test_transparency_shows_white_and_not_the_hidden_color():
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (200, 100, 0, 51))  # alpha 0.2

    result = decode_image(encode(image, "PNG")).pixels

    # 0.2 * 200 + 0.8 * 255 = 244, 0.2 * 100 + 204 = 224, 204
    assert result.tolist() == [[[255, 255, 255], [244, 224, 204]]]


@pytest.mark.parametrize("alpha", ["unassociated", "associated"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_transparency_with_and_without_multiplied_colors(alpha, dtype):
    full = np.iinfo(dtype).max
    color, opacity = np.array([1.0, 0.4, 0.0]), 0.2
    stored = color * (opacity if alpha == "associated" else 1)
    pixels = np.tile(np.rint(np.append(stored, opacity) * full).astype(dtype), (4, 6, 1))
    data = tiff(pixels, extra_sample=1 if alpha == "associated" else 2)

    result = decode_image(data).pixels

    expected = (color * opacity + 1 - opacity) * 255  # (255, 224.4, 204)
    assert np.abs(result - expected).max() <= 1


def tiff(pixels, *, photometric=None, extra_sample=None, planar=1, orientation=1, sample_format=1):
    """The simplest TIFF file of an array, little-endian and uncompressed (TIFF 6.0, part 1)."""
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    photometric = (1 if samples == 1 else 2) if photometric is None else photometric
    if planar == 2:
        pixels = np.moveaxis(pixels, 2, 0)
    body = np.ascontiguousarray(pixels).tobytes()
    bits = pixels.dtype.itemsize * 8
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 274: orientation}
    tags.update({277: samples, 278: height, 284: planar, 339: sample_format})
    if extra_sample is not None:
        tags[338] = extra_sample
    count = len(tags) + 2
    end = 8 + 2 + 12 * count + 4
    lists, place = b"", {}

    def array(values, layout):
        nonlocal lists
        place_ = end + len(lists)
        lists += struct.pack(f"<{len(values)}{layout}", *values)
        return place_

    place[258] = array([bits] * samples, "H")
    place[339] = array([sample_format] * samples, "H")
    planes = samples if planar == 2 else 1
    offsets = array([0] * planes, "I")  # filled in below
    counts = array([len(body) // planes] * planes, "I")
    start = end + len(lists)
    filled = [start + index * (len(body) // planes) for index in range(planes)]
    at = offsets - end
    lists = lists[:at] + struct.pack(f"<{planes}I", *filled) + lists[at + 4 * planes :]
    entries = []
    for tag, value in tags.items():
        if tag in place and samples > 2:
            entries.append((tag, struct.pack("<HHII", tag, 3, samples, place[tag])))
        else:
            entries.append((tag, struct.pack("<HHIHH", tag, 3, 1, value, 0)))
    one = planes == 1
    entries.append((273, struct.pack("<HHII", 273, 4, planes, start if one else offsets)))
    entries.append((279, struct.pack("<HHII", 279, 4, planes, len(body) if one else counts)))
    directory = b"".join(entry for _, entry in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, count)
    return head + directory + bytes(4) + lists + body


def test_the_tests_own_tiff_is_one():
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)

    assert (np.asarray(Image.open(io.BytesIO(tiff(pixels)))) == pixels).all()
    assert (decode_image(tiff(pixels)).pixels == pixels).all()
    assert (decode_image(tiff(pixels, planar=2)).pixels == pixels).all()


# 16 bits


def sixteen(shape):
    """All sorts of 16-bit values, among them those that truncation and rounding tell apart."""
    values = np.random.default_rng(2).integers(0, 65536, shape, dtype=np.uint16)
    values.flat[:5] = (0, 128, 129, 65535, 65407)  # 129 / 257 rounds to 1, 65407 / 257 to 255
    return values


def rounded(values):
    return np.floor(values / 257 + 0.5)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_and_rounded(suffix, channels):
    values = sixteen((9, 11, channels))
    done, data = cv2.imencode(suffix, values[:, :, ::-1])
    assert done

    result = decode_image(data.tobytes()).pixels

    assert (result == rounded(np.broadcast_to(values, (9, 11, 3)))).all()


def test_16_bit_gray_as_pillow_writes_it():
    values = sixteen((9, 11))
    for kind in ("PNG", "TIFF"):
        result = decode_image(encode(Image.fromarray(values), kind)).pixels
        assert (result == rounded(values)[:, :, None]).all()


def test_16_bit_gray_with_one_transparent_level():
    values = sixteen((9, 11))
    plain = encode(Image.fromarray(values), "PNG")
    key = b"tRNS" + struct.pack(">H", 129)
    chunk = struct.pack(">I", 2) + key + struct.pack(">I", zlib.crc32(key))
    data = plain[:33] + chunk + plain[33:]  # after the header

    expected = rounded(np.where(values == 129, 65535, values))
    assert (decode_image(data).pixels == expected[:, :, None]).all()


def test_16_bits_with_transparency():
    values = sixteen((9, 11, 4))
    done, data = cv2.imencode(".png", values[:, :, [2, 1, 0, 3]])
    assert done

    color, alpha = values[:, :, :3] / 65535, values[:, :, 3:] / 65535
    expected = 255 * (color * alpha + 1 - alpha)
    assert np.abs(decode_image(data.tobytes()).pixels - expected).max() <= 0.51


def test_16_bit_tiff_where_zero_is_white():
    values = sixteen((9, 11))
    result = decode_image(tiff(values, photometric=0)).pixels

    assert (result == rounded(65535.0 - values)[:, :, None]).all()


def test_16_bit_tiff_in_separate_planes():
    values = sixteen((9, 11, 3))
    assert (decode_image(tiff(values)).pixels == rounded(values)).all()
    assert (decode_image(tiff(values, planar=2)).pixels == rounded(values)).all()


@pytest.mark.parametrize(
    ("dtype", "sample_format"), [(np.float32, 3), (np.float64, 3), (np.int16, 2)]
)
def test_samples_without_a_known_white_are_refused(dtype, sample_format):
    values = np.linspace(0, 1, 99).reshape(9, 11).astype(dtype)
    with pytest.raises(ImageError, match=f"samples are {np.dtype(dtype)}.*8 or 16 bits"):
        decode_image(tiff(values, sample_format=sample_format))


# orientation


def with_orientation(image, kind, value):
    exif = Image.Exif()
    exif[0x0112] = value
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    return encode(image, kind, exif=exif, **options)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_comes_out_upright(image, kind, value, tmp_path):
    data = with_orientation(image, kind, value)
    assert_like_pillow(data, 4 if kind == "JPEG" else 0)

    (tmp_path / "x").write_bytes(data)
    assert (read_image(tmp_path / "x") == decode_image(data).pixels).all()


def test_orientation_6_by_hand():
    """Value 6: the stored first row is the right side, the stored first column the top."""
    stored = np.zeros((2, 3, 3), np.uint8)
    stored[0, 0] = 10
    stored[0, 2] = 20
    stored[1, 0] = 30
    result = decode_image(with_orientation(Image.fromarray(stored), "PNG", 6)).pixels

    assert result[:, :, 0].tolist() == [[30, 10], [0, 0], [0, 20]]


@pytest.mark.parametrize("value", range(1, 9))
def test_16_bit_tiff_is_turned_once(value):
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 257
    turned = by_pillow(tiff((values // 257).astype(np.uint8), orientation=value))

    assert (decode_image(tiff(values, orientation=value)).pixels == turned).all()


def test_both_byte_orders_of_exif(image):
    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        exif = mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, 3, 0, 0)
        data = encode(image, "PNG", exif=exif)
        assert (decode_image(data).pixels == np.asarray(image)[::-1, ::-1]).all()


def test_exif_in_webp_with_the_prefix_of_jpeg(image):
    exif = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 3, 0, 0)
    bare = encode(image, "WEBP", lossless=True, exif=exif)
    place = bare.index(b"EXIF")
    body = b"Exif\0\0" + exif
    chunk = b"EXIF" + struct.pack("<I", len(body)) + body
    rest = bare[12:place] + chunk + bare[place + 8 + len(exif) :]
    prefixed = b"RIFF" + struct.pack("<I", len(rest) + 4) + b"WEBP" + rest

    for data in (bare, prefixed):
        assert (decode_image(data).pixels == np.asarray(image)[::-1, ::-1]).all()


@pytest.mark.parametrize(
    "exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"garbage" * 9]
)
def test_damaged_exif_does_not_cost_the_image(image, exif):
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
    data = encode(image, "JPEG")
    assert_like = decode_image(data).pixels

    assert (decode_image(data[:2] + segment + data[2:]).pixels == assert_like).all()


def test_an_orientation_that_does_not_exist_means_upright(image):
    exif = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 9, 0, 0)

    assert (decode_image(encode(image, "PNG", exif=exif)).pixels == np.asarray(image)).all()


# several frames


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first(kind):
    frames = [Image.new("RGB", (12, 8), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)

    assert (decode_image(data).pixels == (255, 0, 0)).all()


# at reduced size


def jpeg(width, height, orientation=1, mode="RGB", **options):
    """A smooth image, for which reduced decoding and averaging hardly differ."""
    small = np.random.default_rng(4).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image.convert(mode), "JPEG", quality=95, exif=exif, **options)


@pytest.fixture
def read_at(tmp_path):
    def read(data, needed):
        (tmp_path / "x").write_bytes(data)
        return read_reduced(tmp_path / "x", lambda source: needed)

    return read


@pytest.mark.parametrize(
    ("width", "height", "needed", "read"),
    [
        (640, 480, (240, 320), (240, 320)),  # a half is just enough
        (640, 480, (241, 320), (480, 640)),
        (640, 480, (240, 321), (480, 640)),
        (640, 480, (120, 100), (120, 160)),
        (640, 480, (60, 80), (60, 80)),
        (640, 480, (1, 1), (60, 80)),  # JPEG knows no less than an eighth
        (640, 480, (9999, 9999), (480, 640)),
        (644, 480, (60, 80), (120, 161)),  # 644 = 4 x 161: an eighth would leave half a pixel
        (641, 480, (60, 80), (480, 641)),
        (640, 481, (60, 80), (481, 640)),
        (7, 5, (1, 1), (5, 7)),
    ],
)
def test_a_jpeg_is_read_as_small_as_is_enough(read_at, width, height, needed, read):
    reading = read_at(jpeg(width, height), needed)

    assert reading.pixels.shape == (*read, 3)
    assert reading.source == (height, width)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"subsampling": 0}),
        ("L", {}),
        ("CMYK", {}),
    ],
)
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_reduced_pixel_is_the_average_of_those_it_covers(
    read_at, orientation, mode, options, factor
):
    data = jpeg(160, 96, orientation, mode, **options)
    full = by_pillow(data)
    height, width = full.shape[0] // factor, full.shape[1] // factor

    reading = read_at(data, (height, width))

    blocks = full.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    assert reading.source == full.shape[:2]
    assert reading.pixels.shape == blocks.shape
    assert reading.pixels.flags["C_CONTIGUOUS"]
    difference = np.abs(reading.pixels - blocks)
    # Black multiplies the inks, so that CMYK's averages are not quite the colors' averages.
    assert difference.mean() < (2 if mode == "CMYK" else 1)
    assert difference.max() < 8


def test_what_is_enough_is_asked_for_the_upright_image(tmp_path):
    (tmp_path / "x").write_bytes(jpeg(160, 96, orientation=6))
    asked = []

    def enough(source):
        asked.append(source)
        return 80, 48

    reading = read_reduced(tmp_path / "x", enough)

    assert asked == [(160, 96)]
    assert reading.pixels.shape == (80, 48, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_other_kinds_are_read_in_full(image, read_at, kind):
    data = encode(image, kind)

    reading = read_at(data, (1, 1))

    assert (reading.pixels == decode_image(data).pixels).all()
    assert reading.source == (40, 56)


def test_a_truncated_jpeg_is_refused_at_reduced_size_too(read_at, capfd):
    data = jpeg(160, 96)
    for length in range(1, len(data) - 1, 97):
        with pytest.raises(ImageError):
            read_at(data[:length], (1, 1))
    assert capfd.readouterr().err == ""


def test_reading_in_threads_gives_what_reading_alone_gives(tmp_path):
    files = []
    for index in range(8):
        data = jpeg(160 + 8 * index, 96, orientation=index + 1)
        (tmp_path / f"{index}.jpg").write_bytes(data)
        files.append(tmp_path / f"{index}.jpg")
    alone = [read_reduced(file, lambda source: (20, 20)).pixels for file in files]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda f: read_reduced(f, lambda source: (20, 20)), files * 5))

    for index, reading in enumerate(together):
        assert (reading.pixels == alone[index % 8]).all()


# what cannot be read


def test_reasons(tmp_path):
    cases = {
        b"": "the file is empty",
        b"hello world": "it is a text file, not an image",
        b"\0\1\2\3\xff": r"begins with 00 01 02 03 ff",
        b"BM" + bytes(40): "begins like a BMP file, but is damaged",
        b"II*\0" + bytes(60): "begins like a TIFF file, but is damaged",
    }
    for index, (data, reason) in enumerate(cases.items()):
        path = tmp_path / str(index)
        path.write_bytes(data)
        with pytest.raises(ImageError, match=reason):
            read_image(path)
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="a folder, not an image"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read: Not a directory"):
        read_image(tmp_path / "0" / "x.jpg")
    with pytest.raises(ImageError, match=r"cannot be read: .*null"):
        read_image("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(ImageError, match="no permission"):
        read_image(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_no_truncated_file_is_taken_for_whole(image, kind, capfd):
    """Every length from nothing to all but the last byte, and nothing reaches stderr."""
    data = encode(image, kind)
    step = max(1, len(data) // 60)
    lengths = sorted({*range(1, len(data), step), len(data) - 2, len(data) - 1})
    # A GIF's and a TIFF's last bytes are no part of the image: a trailer, a directory.
    needed = {"GIF": 2, "TIFF": 40}.get(kind, 0)
    for length in lengths:
        if length >= len(data) - needed:
            continue
        with pytest.raises(ImageError) as caught:
            decode_image(data[:length])
        if length > 20 and kind in ("JPEG", "PNG", "WEBP"):
            assert "truncated" in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_jpeg_ends_at_its_own_end_marker(image):
    """Not at that of the thumbnail inside, and whatever phones append does not matter."""
    plain = encode(image, "JPEG")
    thumbnail = encode(image.resize((8, 8)), "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = plain[:2] + segment + plain[2:]
    expected = decode_image(plain).pixels

    assert (decode_image(data).pixels == expected).all()
    assert (decode_image(data + b"trailer\xff\xd8\xff").pixels == expected).all()
    with pytest.raises(ImageError, match="truncated"):
        decode_image(data[:-2])


def test_a_png_with_a_flipped_bit_is_damaged(image, capfd):
    data = bytearray(encode(image, "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match="damaged: a checksum"):
        decode_image(bytes(data))
    assert capfd.readouterr().err == ""


def test_more_pixels_than_opencv_decodes(capfd):
    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    data = bytearray(encode(Image.new("RGB", (1, 1)), "PNG"))
    data[16:29] = header
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    with pytest.raises(ImageError, match=r"more pixels than OpenCV decodes \(2\^30"):
        decode_image(bytes(data), max_pixels=10**10)
    assert capfd.readouterr().err == ""


@given(st.binary(max_size=300), st.sampled_from(["", "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]))
@settings(max_examples=300)
def test_no_bytes_raise_anything_but_an_image_error(tail, kind):
    head = encode(Image.new("RGB", (3, 3)), kind)[:40] if kind else b""
    try:
        result = decode_image(head + tail).pixels
    except ImageError:
        return
    assert result.dtype == np.uint8
    assert result.shape[2] == 3


def test_paths_with_odd_characters(tmp_path, image):
    for name in ("sp ace.png", "Überfahrt.png", os.fsdecode(b"\xff\xfe.png"), "new\nline.png"):
        (tmp_path / name).write_bytes(encode(image, "PNG"))
        assert (read_image(tmp_path / name) == np.asarray(image)).all()
        assert find_sources([str(tmp_path / name)]).sources[0].relative == PurePath(name)


def test_opencv_gets_its_log_level_back(image):
    """Also when threads overlap, and when decoding fails."""
    before = opencv_log.getLogLevel()
    opencv_log.setLogLevel(3)
    try:
        levels = []
        inside = threading.Barrier(3)

        def read():
            with decode._quiet_opencv():
                inside.wait(10)
                levels.append(opencv_log.getLogLevel())

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert levels == [0, 0, 0]
        assert opencv_log.getLogLevel() == 3
        with pytest.raises(ImageError):
            decode_image(b"nothing")
        assert opencv_log.getLogLevel() == 3
    finally:
        opencv_log.setLogLevel(before)
