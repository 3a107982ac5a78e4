"""Every kind of file there is, against Pillow and against what the formats' specifications say.

Files that Pillow writes are read by Pillow too. Those that it does not write are built here; what
each has to come to is computed from the numbers that were put in, since Pillow, too, garbles some.
"""

from __future__ import annotations

import io
import itertools
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from cnnviz.errors import ImageError
from cnnviz.images.decode import decode_image

SMALL = np.random.default_rng(0).integers(0, 256, (5, 7, 6), dtype=np.uint8)
BASE = Image.fromarray(SMALL[:, :, :3]).resize((57, 41), Image.Resampling.BICUBIC)


def by_pillow(data):
    """RGB over white, upright, as Pillow sees the first frame; 16 bits of gray are rounded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    if image.format != "TIFF":  # which Pillow turns while loading
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        gray = (np.asarray(image).astype(np.int64) + 128) // 257
        return np.repeat(gray[:, :, None], 3, axis=2)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def difference(data, expected):
    ours = decode_image(data).pixels
    assert ours.shape == expected.shape
    return np.abs(ours.astype(int) - expected).max()


# --- files of Pillow's ---------------------------------------------------------------------------


def in_mode(mode):
    if mode in ("LA", "RGBA", "RGBa"):
        image = BASE.convert("L" if mode == "LA" else "RGB")
        image.putalpha(Image.linear_gradient("L").resize(BASE.size))
        return image.convert(mode)
    if mode == "I;16":
        levels = np.asarray(BASE.convert("L")).astype(np.uint16) * 256 + np.arange(57)
        return Image.fromarray(levels.astype(np.uint16))
    if mode.startswith("P") and mode[1:].isdecimal():
        return BASE.quantize(int(mode[1:]))
    return BASE.convert(mode)


TIFF_COMPRESSIONS = ["tiff_ccitt", "group3", "group4", "tiff_lzw", "jpeg", "tiff_deflate"]
TIFF_COMPRESSIONS += ["tiff_adobe_deflate", "packbits", "zstd", "lzma"]
OPTIONS = {
    "PNG": [{}, {"bits": 1}, {"bits": 2}, {"bits": 4}, {"transparency": 0}]
    + [{"transparency": (0, 0, 0)}, {"transparency": bytes(range(0, 256, 16))}]
    + [{"save_all": True, "default_image": default} for default in (True, False)]
    + [{"icc_profile": b"none", "gamma": 0.3}],
    "BMP": [{}],
    "DIB": [{}],
    "GIF": [{}, {"interlace": 0}, {"transparency": 1}, {"save_all": True}],
    "TIFF": [{}, {"big_tiff": True}, {"strip_size": 1000, "compression": "packbits"}]
    + [{"compression": name} for name in TIFF_COMPRESSIONS]
    + [{"compression": "tiff_lzw", "tiffinfo": {317: 2}}]
    + [{"tiffinfo": {274: turn}} for turn in (3, 5, 6)],
    "WEBP": [{"lossless": True, **more} for more in ({}, {"exact": True}, {"save_all": True})]
    + [{"quality": 90}],
    "JPEG": [{"quality": 95, **more} for more in ({}, {"subsampling": 0}, {"keep_rgb": True})]
    + [{"restart_marker_blocks": 3}],
    "PPM": [{}],
}
MODES = ["1", "L", "LA", "P", "P2", "P4", "P16", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"]
MODES += ["I;16", "LAB"]
REFUSED = [
    ("TIFF", "LA", "jpeg"),  # JPEG compression of two bands ...
    ("TIFF", "LAB", "jpeg"),
    ("TIFF", "YCbCr", "zstd"),  # ... and colors that only libtiff converts, where OpenCV's cannot
    ("TIFF", "YCbCr", "lzma"),
]


def is_for(mode, options):
    """Whether libtiff has that for such an image; asked in vain, Pillow 12 damages its memory."""
    compression = options.get("compression", "")
    if compression in ("group3", "group4", "tiff_ccitt"):
        return mode == "1"
    if compression == "jpeg":
        return mode not in ("1", "P", "P2", "P4", "P16", "I;16")
    return mode != "1" or 317 not in options.get("tiffinfo", {})


@pytest.mark.parametrize("kind", OPTIONS)
def test_what_pillow_writes(kind, capfd):
    tried = 0
    for mode, given in itertools.product(MODES, OPTIONS[kind]):
        if not is_for(mode, given):
            continue
        image, options = in_mode(mode), dict(given)
        if options.get("save_all"):
            options["append_images"] = [image.transpose(Image.Transpose.ROTATE_180)]
        buffer = io.BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image.save(buffer, kind, **options)
            expected = by_pillow(buffer.getvalue())
        except (OSError, ValueError, TypeError, KeyError, SyntaxError, RuntimeError):
            continue  # it does not write, or not read, that
        where = (kind, mode, given)
        if (kind, mode, given.get("compression")) in REFUSED:
            with pytest.raises(ImageError, match="which cnnviz does not read; convert it to PNG"):
                decode_image(buffer.getvalue())
            continue
        # libjpeg may be of another version; alpha is divided differently, and inks mixed.
        lossy = kind == "JPEG" or "quality" in given or given.get("compression") == "jpeg"
        assert difference(buffer.getvalue(), expected) <= (4 if lossy else 1), where
        if not lossy and mode in ("1", "L", "P", "P2", "P4", "P16", "RGB", "I;16"):
            assert difference(buffer.getvalue(), expected) == 0, where
        tried += 1
    assert tried >= len(OPTIONS[kind])


# --- BMP -----------------------------------------------------------------------------------------

HEIGHT, WIDTH = 5, 7
RNG = np.random.default_rng(1)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
ALPHAS = {
    "nothing": np.zeros((HEIGHT, WIDTH), np.uint8),
    "all": np.full((HEIGHT, WIDTH), 255, np.uint8),
    "some": RNG.integers(1, 256, (HEIGHT, WIDTH), dtype=np.uint8),
}
HEADERS = [40, 52, 56, 108, 124]


def bmp(bits, compression, header, body, masks=(), palette=b"", top_down=False):
    height = -HEIGHT if top_down else HEIGHT
    fields = (header, WIDTH, height, 1, bits, compression, len(body), 2835, 2835)
    head = struct.pack("<IiiHHIIiiII", *fields, len(palette) // 4, 0)
    masks = b"".join(struct.pack("<I", mask) for mask in masks)
    if header > 40:
        head, masks = (head + masks.ljust(16, b"\0"))[:header].ljust(header, b"\0"), b""
    start = 14 + len(head) + len(masks) + len(palette)
    file = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    return file + head + masks + palette + body


def lines(rows, top_down=False):
    """Rows, each filled to four bytes."""
    rows = rows if top_down else rows[::-1]
    return b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in rows)


def packed(bands, masks, dtype):
    values = np.zeros(bands[0].shape, np.uint64)
    for band, mask in zip(bands, masks, strict=False):  # alpha may have none
        lowest = (mask & -mask).bit_length() - 1
        values |= (band.astype(np.uint64) * (mask >> lowest) // 255) << np.uint64(lowest)
    return values.astype(dtype)


def over_white(rgb, alpha):
    a = alpha[:, :, None] / 255
    return np.rint(rgb * a + 255 * (1 - a))


MASKS_32 = {
    "BGRA": (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    "RGBA": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
    "ABGR": (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
    "ARGB": (0xFF00, 0xFF0000, 0xFF000000, 0xFF),
}


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_fourth_byte_of_a_bmp_is_alpha_only_where_a_mask_says_so(alpha, top_down):
    bands = [*np.moveaxis(RGB, 2, 0), ALPHAS[alpha]]
    for name, masks in MASKS_32.items():
        body = lines(packed(bands, masks, "<u4"), top_down)
        for header in HEADERS:
            # Without masks, blue comes first and the last byte is not used.
            if name == "BGRA":
                assert difference(bmp(32, 0, header, body, masks, top_down=top_down), RGB) == 0
            colors = masks[:3] if header < 56 else (*masks[:3], 0)
            data = bmp(32, 3, header, body, colors, top_down=top_down)
            assert difference(data, RGB) == 0, (name, header)
            if header >= 56 or header == 40:
                data = bmp(32, 6 if header == 40 else 3, header, body, masks, top_down=top_down)
                shown = RGB if alpha == "nothing" else over_white(RGB, ALPHAS[alpha])
                assert difference(data, shown) <= 1, (name, header)


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    ("compression", "masks"),
    [
        (0, (0x7C00, 0x3E0, 0x1F, 0)),
        (3, (0x7C00, 0x3E0, 0x1F, 0)),
        (3, (0xF800, 0x7E0, 0x1F, 0)),
        (3, (0x1F, 0x7E0, 0xF800, 0)),
        (3, (0xF00, 0xF0, 0xF, 0)),
    ],
)
def test_a_bmp_of_16_bits(compression, masks, header, top_down):
    values = packed(np.moveaxis(RGB, 2, 0), masks, "<u2")
    expected = np.empty_like(RGB)
    for band, mask in enumerate(masks[:3]):
        lowest = (mask & -mask).bit_length() - 1
        level = (values & np.uint16(mask)) >> lowest
        expected[:, :, band] = level.astype(int) * 255 // (mask >> lowest)
    given = masks if compression and header >= 56 else masks[:3]
    data = bmp(
        16,
        compression,
        header,
        lines(values, top_down),
        given if compression else (),
        b"",
        top_down,
    )

    assert difference(data, expected) == 0
    if masks[2] == 0x1F:  # Pillow knows these
        assert difference(data, by_pillow(data)) == 0


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8, 24])
def test_a_bmp_with_a_palette_and_with_three_bytes(bits, top_down):
    palette = RNG.integers(0, 256, (256, 4), dtype=np.uint8)
    places = RNG.integers(0, min(256, 1 << bits), (HEIGHT, WIDTH))
    spread = (places[:, :, None] >> np.arange(bits)[::-1]) & 1
    if bits == 24:
        data = bmp(24, 0, 40, lines(RGB[:, :, ::-1], top_down), top_down=top_down)
    else:
        body = lines(np.packbits(spread.reshape(HEIGHT, -1).astype(np.uint8), axis=1), top_down)
        data = bmp(bits, 0, 40, body, palette=palette[: 1 << bits].tobytes(), top_down=top_down)

    expected = RGB if bits == 24 else palette[places][:, :, 2::-1]
    assert difference(data, expected) == 0
    assert difference(data, by_pillow(data)) == 0
    assert difference(data[14:], expected) == 0  # as .dib files may be: without the file's header


@pytest.mark.parametrize("bits", [4, 8, 24])
def test_a_bmp_of_os2(bits):
    palette = RNG.integers(0, 256, (1 << bits % 24, 3), dtype=np.uint8)
    places = RNG.integers(0, 1 << bits % 24, (HEIGHT, WIDTH))
    spread = ((places[:, :, None] >> np.arange(bits % 24)[::-1]) & 1).reshape(HEIGHT, -1)
    body = lines(np.packbits(spread.astype(np.uint8), axis=1) if bits < 24 else RGB[:, :, ::-1])
    colors = palette.tobytes() if bits < 24 else b""
    start = 26 + len(colors)
    head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    data = head + struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits) + colors + body

    assert difference(data, RGB if bits == 24 else palette[places][:, :, ::-1]) == 0
    assert difference(data, by_pillow(data)) == 0


def test_a_bmp_that_lacks_pixels_or_masks_is_refused():
    body = lines(np.zeros((HEIGHT, WIDTH), "<u4"))
    with pytest.raises(ImageError, match="truncated"):
        decode_image(bmp(32, 0, 40, body[:-5]))
    with pytest.raises(ImageError, match="colors have no bits"):
        decode_image(bmp(32, 3, 40, body, (0xFF, 0, 0xFF)))
    for place in (18, 22):  # no width, no height
        data = bytearray(bmp(32, 0, 40, body))
        data[place : place + 4] = bytes(4)
        with pytest.raises(ImageError, match="damaged"):
            decode_image(bytes(data))


# --- PNM -----------------------------------------------------------------------------------------

HEADS = ["P{}\n{} {}\n{}\n", "P{} # a # b\n#4 4\n{}\t{} #\r\n# 9\n{} ", "P{} {}\n#c\n{}#d\n {}\n"]
MAXVALS = [1, 2, 3, 15, 100, 127, 200, 254, 255, 256, 300, 1000, 1023, 4095, 32768, 65534, 65535]


@pytest.mark.parametrize("most", MAXVALS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("number", [2, 3, 5, 6])
def test_pnm_is_scaled_by_what_it_calls_white(number, head, most):
    shape = (HEIGHT, WIDTH, 3 if number in (3, 6) else 1)
    values = RNG.integers(0, most + 1, shape)
    values.flat[:2] = 0, most
    if number < 4:
        body = b"\n".join(b" ".join(b"%d" % value for value in row.flat) for row in values)
    else:
        body = values.astype("u1" if most < 256 else ">u2").tobytes()
    data = head.format(number, WIDTH, HEIGHT, most).encode() + body
    expected = np.rint(np.broadcast_to(values, RGB.shape) * 255 / most)

    assert difference(data, expected) == 0
    if number < 4:
        assert difference(data + b"\n# the end\n", expected) == 0
    if head is HEADS[0]:  # the others' comments are beyond Pillow, which rounds gray twice
        assert difference(data, by_pillow(data)) <= (1 if most > 255 else 0)


@pytest.mark.parametrize("head", ["P{}\n{} {}\n", "P{} # a # b\n#4 4\n{}\t{}#c\n"])
def test_pnm_of_bits(head):
    bits = RNG.integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint8)
    expected = np.repeat(255 * (1 - bits[:, :, None]), 3, axis=2)
    spaced = b"\n".join(b" ".join(b"%d" % bit for bit in row) for row in bits)

    for body in (spaced, spaced.replace(b" ", b""), spaced + b" # 1 1\n"):
        assert difference(head.format(1, WIDTH, HEIGHT).encode() + body, expected) == 0
    body = np.packbits(bits, axis=1).tobytes()
    assert difference(head.format(4, WIDTH, HEIGHT).encode() + body, expected) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5 3 2 255\n12345", "truncated"),
        (b"P2 3 2 255\n1 2 3 4 5", "truncated"),
        (b"P2 30000 2 255\n1 2 3 4 5", "truncated"),
        (b"P1 3 2\n01011", "truncated"),
        (b"P4 9 2\nabc", "truncated"),
        (b"P2 3 2 255\n1 2 3 4 5 -6", "not all numbers"),
        (b"P2 3 2 9\n1 2 3 4 5 10", "above its highest, 9"),
        (b"P2 3 2 99\n1 2 3 4 5 18446744073709551617", "above its highest, 99"),
        (b"P1 3 2\n010112", "not all 0 or 1"),
        (b"P5 3 2 0\n123456", "highest level"),
        (b"P5 3 2 65536\n123456", "highest level"),
        (b"P5 3 2 ", "highest level"),
        (b"P5 0 2 255\n", "no pixels"),
    ],
)
def test_damaged_pnm_is_refused(data, message):
    with pytest.raises(ImageError, match=message):
        decode_image(data)


# --- TIFF ----------------------------------------------------------------------------------------

SMOOTH = cv2.resize(SMALL, (32, 40), interpolation=cv2.INTER_CUBIC)
COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4}
LAYOUTS = [  # photometric interpretation, bands, what the extra ones are
    *[(0, 1, None), (1, 1, None), (3, 1, None), (2, 3, None), (5, 4, None)],
    *[(1, 2, None), (1, 2, (0,)), (1, 2, (1,)), (1, 2, (2,)), (0, 2, (0,)), (0, 2, (2,))],
    *[(2, 4, None), (2, 4, (0,)), (2, 4, (1,)), (2, 4, (2,)), (3, 2, (2,)), (5, 5, (0,))],
    *[(2, 5, (0, 0)), (2, 5, (2, 0)), (2, 5, (1, 0)), (2, 5, (0, 2)), (2, 6, (0, 0, 0))],
    *[(1, 3, (0, 0)), (1, 5, (0, 0, 0, 0)), (5, 5, (2,))],
]


MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def fill(block, bits, order, predictor):
    """A block's samples as bytes: rows begin with a byte of their own."""
    if predictor == 2:
        block = np.diff(block.astype(np.int64), axis=1, prepend=0) % (1 << bits)
    if bits in (8, 16):
        return block.astype(f"{order}u{bits // 8}").tobytes()
    rows = block.reshape(len(block), -1, 1)
    spread = ((rows >> np.arange(bits)[::-1]) & 1).astype(np.uint8)
    return np.packbits(spread.reshape(len(block), -1), axis=1).tobytes()


def tiff(
    samples,
    bits,
    photometric,
    extra=None,
    *,
    planar=1,
    turn=1,
    order="<",
    compression=1,
    tile=None,
    predictor=1,
    rows=None,
    palette=None,
    fill_order=1,
):
    """A TIFF file, in strips or tiles, uncompressed or deflated (TIFF 6.0)."""
    height, width, bands = samples.shape
    down, across = tile or (rows or height, width)
    planes = [samples] if planar == 1 else np.split(samples, bands, axis=2)
    pieces = []
    for plane, top, left in itertools.product(
        planes, range(0, height, down), range(0, width, across)
    ):
        block = plane[top : top + down, left : left + across]
        if tile:
            missing = (down - block.shape[0], across - block.shape[1])
            block = np.pad(block, ((0, missing[0]), (0, missing[1]), (0, 0)))
        piece = fill(block, bits, order, predictor)
        piece = zlib.compress(piece) if compression == 8 else piece
        pieces.append(piece.translate(MIRRORED) if fill_order == 2 else piece)
    places = np.cumsum([8, *map(len, pieces)]).tolist()
    tags = {256: [width], 257: [height], 258: [bits] * bands, 259: [compression]}
    tags.update({262: [photometric], 266: [fill_order], 274: [turn], 277: [bands], 284: [planar]})
    tags.update({317: [predictor]} if predictor != 1 else {})
    tags.update({338: extra} if extra is not None else {})
    tags.update({320: palette} if palette is not None else {})
    tags.update({322: [across], 323: [down]} if tile else {278: [down]})
    tags.update({324 if tile else 273: places[:-1], 325 if tile else 279: list(map(len, pieces))})
    body = b"".join(pieces)
    body += bytes(len(body) % 2)
    start = 8 + len(body)
    behind, entries, after = b"", b"", start + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        long = tag in (256, 257, 273, 278, 279, 322, 323, 324, 325)
        raw = struct.pack(f"{order}{len(values)}{'I' if long else 'H'}", *values)
        entries += struct.pack(order + "HHI", tag, 4 if long else 3, len(values))
        if len(raw) > 4:
            entries += struct.pack(order + "I", after + len(behind))
            behind += raw
        else:
            entries += raw.ljust(4, b"\0")
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, start)
    return head + body + struct.pack(order + "H", len(tags)) + entries + bytes(4) + behind


def upright(pixels, turn):
    if turn >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if turn in (2, 3, 6, 7) else pixels


def shown(samples, bits, photometric, extra, palette=None):
    """What the samples mean, in floating point."""
    full, colors = (1 << bits) - 1, COLORS[photometric]
    values = samples / full
    color = values[:, :, :colors]
    if photometric == 0:
        color = 1 - color
    if photometric == 3:
        color = (np.reshape(palette, (3, -1)).T / 65535)[samples[:, :, 0]]
    if photometric == 5:
        color = (1 - color[:, :, :3]) * (1 - color[:, :, 3:])
    if extra is None and (photometric, samples.shape[2]) == (2, 4):
        extra = (2,)  # as Pillow has it
    for place, kind in enumerate(extra or ()):
        if kind:
            alpha = values[:, :, colors + place, None]
            color = (color if kind == 1 else color * alpha) + 1 - alpha
            break
    color = np.rint(np.minimum(color, 1) * 255)
    return np.broadcast_to(color, (*color.shape[:2], 3))


def samples_of(bits, photometric, bands, extra):
    values = SMOOTH[:, :, :bands].astype(np.int64) * ((1 << bits) - 1) // 255
    if bits == 16:
        values = np.minimum(values + np.arange(32)[:, None] * 5, 65535)
    if extra and extra[0] == 1:  # no color is above its alpha
        colors = COLORS[photometric]
        values[:, :, :colors] = np.minimum(values[:, :, :colors], values[:, :, colors, None])
    return values


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 16])
@pytest.mark.parametrize(("photometric", "bands", "extra"), LAYOUTS)
def test_every_layout_of_a_tiff(photometric, bands, extra, bits, capfd):
    if photometric == 3 and bits > 8:
        return
    samples = samples_of(bits, photometric, bands, extra)
    palette = None
    if photometric == 3:
        palette = (RNG.integers(0, 256, 3 << bits) * 257).tolist()
    expected = shown(samples, bits, photometric, extra, palette)
    turns, orders = itertools.cycle(range(1, 9)), itertools.cycle("<>>")
    for planar, tile in itertools.product((1, 2), (None, (16, 16))):
        for compression, predictor, rows in ((1, 1, None), (8, 1, 7), (8, 2, 9)):
            if (planar == 2 and bands == 1) or (predictor == 2 and bits not in (8, 16)):
                continue
            options = {"planar": planar, "order": next(orders), "tile": tile, "rows": rows}
            options.update({"compression": compression, "predictor": predictor})
            turn = next(turns)
            data = tiff(samples, bits, photometric, extra, palette=palette, turn=turn, **options)
            assert difference(data, upright(expected, turn)) <= 1, (turn, options)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize(("bits", "photometric", "bands"), [(8, 2, 5), (4, 1, 1), (16, 1, 2)])
def test_a_tiff_whose_bits_go_the_other_way(bits, photometric, bands, compression):
    samples = samples_of(bits, photometric, bands, None)
    data = tiff(samples, bits, photometric, compression=compression, fill_order=2)

    assert difference(data, shown(samples, bits, photometric, None)) <= 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_plain_tiff_is_as_pillow_has_it(turn):
    for tile, bands in itertools.product((None, (16, 16)), (1, 3)):
        data = tiff(SMOOTH[:, :, :bands], 8, 2 if bands == 3 else 1, tile=tile, turn=turn)
        assert difference(data, by_pillow(data)) == 0


def test_every_compression_of_bands_beyond_the_colors():
    """Pillow writes them with two bands only."""
    image = in_mode("LA")
    for name in ("tiff_lzw", "packbits", "zstd", "lzma", "tiff_deflate"):
        buffer = io.BytesIO()
        image.save(buffer, "TIFF", compression=name)
        assert difference(buffer.getvalue(), by_pillow(buffer.getvalue())) <= 1, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({262: 9}, "photometric interpretation 9 .*convert it to PNG"),
        ({262: 32803}, "camera's raw file"),
        ({259: 50002}, "JPEG XL compression"),
        ({259: 7}, "JPEG compression"),
        ({259: 999}, "compression 999"),
        ({278: 0}, "damaged"),
        ({256: 0}, "damaged|no pixels"),
        ({257: 4000}, "damaged"),
    ],
)
def test_a_tiff_that_is_not_read_is_called_by_what_it_is(change, message, capfd):
    data = bytearray(tiff(samples_of(8, 2, 5, None), 8, 2, (0, 0)))
    for tag, value in change.items():
        at = data.index(struct.pack("<HH", tag, 4 if tag in (256, 257, 278) else 3)) + 8
        data[at : at + 4] = struct.pack("<I", value)
    with pytest.raises(ImageError, match=message):
        decode_image(bytes(data))
    assert capfd.readouterr().err == ""


# --- PNG -----------------------------------------------------------------------------------------

PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
PASSES += [(0, 1, 1, 2)]  # of an interlaced PNG: where each begins, and its steps


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(samples, depth, color, extra=b"", *, interlaced=False):
    height, width, _ = samples.shape
    passes = [samples]
    if interlaced:
        passes = [samples[y::down, x::across] for x, y, across, down in PASSES]
    rows = b"".join(
        b"\0" + fill(row[None], depth, ">", 1) for one in passes if one.size for row in one
    )
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("color", [0, 2, 3, 4, 6])
def test_every_png(color, depth, interlaced):
    """Gray, RGB, palette, gray with alpha, RGBA; of the first three some levels transparent."""
    if depth not in {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(color, (8, 16)):
        return
    bands = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    samples = RNG.integers(0, 1 << depth, (9, 11, bands))
    extra, alpha = b"", np.ones((9, 11, 1))
    values = samples / ((1 << depth) - 1)
    key = samples[2, 2]
    if color == 3:
        palette = RNG.integers(0, 256, (1 << depth, 3), dtype=np.uint8)
        opaque = RNG.integers(0, 256, 1 << depth, dtype=np.uint8)
        extra = chunk(b"PLTE", palette.tobytes())
        values = (palette / 255)[samples[:, :, 0]]
    if color in (4, 6):
        values, alpha = values[:, :, :-1], values[:, :, -1:]
    plain = png(samples, depth, color, extra, interlaced=interlaced)
    assert difference(plain, np.rint(255 * (values * alpha + 1 - alpha)) + np.zeros(3)) <= (
        1 if color in (4, 6) else 0
    )
    if color in (4, 6):
        return
    clear = opaque.tobytes() if color == 3 else struct.pack(f">{bands}H", *key)
    alpha = (samples != key).any(axis=2)[:, :, None]
    if color == 3:
        alpha = (opaque / 255)[samples]
    data = png(samples, depth, color, extra + chunk(b"tRNS", clear), interlaced=interlaced)
    assert difference(data, np.rint(255 * (values * alpha + 1 - alpha)) + np.zeros(3)) <= 1


# --- EXIF ----------------------------------------------------------------------------------------


def exif(turn):
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, turn, 0, 0)


MAKE_ONLY = b"MM\0*" + struct.pack(">IHHHI4sI", 8, 1, 0x010F, 2, 4, b"abc\0", 0)


def with_exif(kind, *blocks):
    buffer = io.BytesIO()
    options = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True, "exif": exif(1)}}
    BASE.save(buffer, kind, **options[kind])
    data = buffer.getvalue()
    if kind == "JPEG":
        segments = [b"Exif\0\0" + block for block in blocks]
        added = b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments)
        return data[:2] + added + data[2:]
    if kind == "PNG":
        chunks = [b"eXIf" + block for block in blocks]
        added = b"".join(
            struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
        )
        return data[:33] + added + data[33:]
    added = b"".join(b"EXIF" + struct.pack("<I", len(b)) + b + bytes(len(b) % 2) for b in blocks)
    body = data[12 : data.index(b"EXIF")] + added
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("blocks", "turn"),
    [
        ([exif(6), exif(1)], 6),
        ([exif(1), exif(6)], 1),
        ([MAKE_ONLY, exif(6)], 1),
        ([exif(9), exif(6)], 1),
        ([b"garbage!", exif(6)], 6),
        ([b"", exif(3)], 3),
        ([b"II*\0\xff\xff\0\0", exif(8)], 8),
    ],
)
def test_of_several_exif_blocks_the_first_that_can_be_read_counts(kind, blocks, turn):
    plain = decode_image(with_exif(kind, exif(1))).pixels

    assert (decode_image(with_exif(kind, *blocks)).pixels == upright(plain, turn)).all()


def test_pillow_takes_the_first_exif_block_too():
    for blocks in ([exif(6), exif(1)], [exif(1), exif(6)]):
        data = with_exif("JPEG", *blocks)
        assert difference(data, by_pillow(data)) <= 4
