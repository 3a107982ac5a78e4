"""Masks as they are stored, whatever PNG they are in, against Pillow's own values."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import ImageError
from cnnviz.images.masks import read_mask

STORED = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)


def palette():
    image = Image.fromarray(STORED, "P")
    image.putpalette([9, 9, 9, 255, 0, 0, 0, 0, 0, 0, 0, 255])
    return image


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_indices_of_a_palette_are_the_values_not_its_colors(tmp_path, bits):
    palette().save(tmp_path / "m.png", bits=bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", (2, 3)), STORED)


def test_a_transparent_index_is_a_value_like_any_other(tmp_path):
    palette().save(tmp_path / "m.png", transparency=1)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", (2, 3)), STORED)


def gray_png(values, bits):
    """A gray PNG of less than 8 bits, which Pillow does not write."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = b""
    for row in values:
        packed = "".join(f"{value:0{bits}b}" for value in row)
        packed = packed.ljust(-(-len(packed) // 8) * 8, "0")
        rows += b"\0" + int(packed, 2).to_bytes(len(packed) // 8, "big")
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_not_spread_over_eight(tmp_path, bits):
    values = np.minimum(STORED, (1 << bits) - 1)
    (tmp_path / "m.png").write_bytes(gray_png(values, bits))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", (2, 3)), values)


def test_sixteen_bits_and_gray_saved_as_colors(tmp_path):
    deep = STORED.astype(np.uint16) * 300
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "deep.png", (2, 3)), deep)
    Image.fromarray(np.repeat(STORED[:, :, None], 3, axis=2)).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "rgb.png", (2, 3)), STORED)


def test_a_mask_that_is_noted_as_turned_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right brings it upright
    Image.fromarray(STORED).save(tmp_path / "m.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", (3, 2)), np.rot90(STORED, -1))


def damaged(path):
    data = bytearray(gray_png(STORED, 2))
    data[-20] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: Image.new("RGB", (3, 2), (0, 9, 0)).save(path), "has colors"),
        (lambda path: Image.new("RGBA", (3, 2)).save(path), "colors or transparency"),
        (lambda path: Image.new("LA", (3, 2)).save(path), "colors or transparency"),
        (lambda path: Image.new("L", (2, 3)).save(path), "2 pixels wide and 3 high, and the image"),
        (lambda path: Image.new("L", (3, 2)).save(path, "GIF"), "no PNG"),
        (lambda path: path.write_bytes(gray_png(STORED, 2)[:-20]), "truncated"),
        (lambda path: path.write_bytes(b""), "no PNG"),
        (lambda path: path.mkdir(), "folder"),
        (damaged, "damaged"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_no_mask_of_the_image_is_refused(tmp_path, write, reason):
    write(tmp_path / "m.png")
    with pytest.raises(ImageError, match=reason):
        read_mask(tmp_path / "m.png", (2, 3))
