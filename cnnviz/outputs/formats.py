"""What is in the files that cnnviz writes, as bytes, with a mark by which it knows them again.

The mark is the ``Software`` text of a PNG, the comment of a JPEG or a zip archive, the EXIF tag
``Software`` at the end of a WebP, the last comment of a GIF, the last line of a diagram or a page,
and the first words of a manifest, an evaluation or a table; of a WebP and a zip archive it stands
in front, too, where a power cut leaves it (:mod:`cnnviz.outputs.marks`). Images and ``.npz`` files
also say what they show (:mod:`cnnviz.outputs.provenance`). :mod:`cnnviz.outputs.files` writes the
bytes. NumPy and Pillow are imported by what needs them: a diagram needs none.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from cnnviz.errors import OutputError, UsageError
from cnnviz.images.kinds import PNG_SIGNATURE
from cnnviz.outputs import provenance
from cnnviz.outputs.marks import (
    GIF_COMMENT,
    JPEG_COMMENT,
    JPEG_HEADER,
    LAST_LINES,
    PNG_HEADER,
    PNG_SOFTWARE,
    STARTS,
    WEBP_HEADER,
    own_mark,
    webp_mark,
    zip_mark,
)
from cnnviz.outputs.provenance import LONGEST_COMMENT

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ImageFormat = Literal["png", "jpg", "webp"]
"""What images are written as; also the ending of their files' names."""

IMAGE_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)
"""All of them, the default first. Only a PNG holds every pixel as it was rendered."""

JPEG_QUALITY = 95
"""Of JPEGs, with colors at full resolution: the edges of a heatmap's colors stay sharp."""

WEBP_QUALITY = 90
"""Of WebPs, whose colors have half the resolution."""

_PNG_UP = 2  # the filter type that subtracts the row above
# libdeflate's level 1 takes less than half of the time of libpng, which OpenCV writes with, for
# smaller files; higher levels find little more in photos and enlarged maps. ISA-L takes half of
# that, but of its streams one in ten thousand is another one when it is made again.
_PNG_LEVEL = 1
_JPEG_LONGEST = 65500  # libjpeg's limit; the format's is 65535
_JPEG_LONGEST_EXIF = 65533  # bytes: a segment's length has two, and counts these
_WEBP_LONGEST = 16383
_WEBP_METHOD = 0  # the fastest; the slower ones find 3 % and take three times as long
_GIF_END = b";"


About = Mapping[str, Any] | None
"""What a file says of itself (:mod:`cnnviz.outputs.provenance`), or nothing."""


def check_format(kind: str) -> None:
    """Refuse a format that images are not written in.

    Raises:
        UsageError: naming those that there are.
    """
    if kind not in IMAGE_FORMATS:
        raise UsageError(f"Images are written as {', '.join(IMAGE_FORMATS)}; got {kind!r}.")


def encode_image(
    image: npt.NDArray[np.uint8], kind: ImageFormat, about: About = None
) -> tuple[bytes, ...]:
    """An image in one of the formats that a user may choose.

    Args:
        image: uint8 (H, W, 3) in RGB, or (H, W) in gray.
        kind: the format.
        about: what it says of itself.

    Raises:
        ImageError: ``image`` is none.
        OutputError: it is larger than the format allows.
    """
    if kind == "png":
        return encode_png(image, about)
    if kind == "jpg":
        return encode_jpeg(image, JPEG_QUALITY, about, full_color=True)
    return encode_webp(image, WEBP_QUALITY, about)


def encode_png(image: npt.NDArray[np.uint8], about: About = None) -> tuple[bytes, ...]:
    """An image as PNG (ISO/IEC 15948).

    Args:
        image: uint8 (H, W, 3) in RGB, or (H, W) in gray.
        about: what it says of itself.

    Raises:
        ImageError: ``image`` is none.
    """
    import deflate
    import numpy as np

    from cnnviz.images.pixels import check_pixels

    check_pixels(image, gray=True)
    height, width = image.shape[:2]
    rows = image.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _PNG_UP
    filtered[0, 1:] = rows[0]  # above the first row are zeros
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256, as the standard has it
    color = 2 if image.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return (
        PNG_SIGNATURE,
        _chunk(b"IHDR", header),
        _png_mark(about),
        _chunk(b"IDAT", bytes(deflate.zlib_compress(filtered, _PNG_LEVEL))),
        _chunk(b"IEND", b""),
    )


def encode_npz(arrays: Mapping[str, Any], about: About = None) -> tuple[bytes, ...]:
    """Arrays as ``numpy.load`` reads them.

    Not compressed: gradients are noise to a compressor. The same arrays give the same bytes.

    Args:
        arrays: by name; anything that NumPy makes an array of without objects.
        about: what it says of itself.

    Raises:
        OutputError: an array of objects.
    """
    import numpy as np

    npy: Any = np.lib.format  # untyped in NumPy
    buffer = io.BytesIO()
    comment = b"" if about is None else provenance.encode(about)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = own_mark()
        for number, (name, value) in enumerate(arrays.items()):
            info = zipfile.ZipInfo(f"{name}.npy")  # by hand it has a fixed date
            if number == 0:  # the mark stands in front, too, as in a WebP
                info.extra = zip_mark()
            info.comment = comment[number * LONGEST_COMMENT : (number + 1) * LONGEST_COMMENT]
            with archive.open(info, "w", force_zip64=True) as entry:
                try:
                    npy.write_array(entry, np.asanyarray(value), allow_pickle=False)
                except ValueError as error:
                    raise OutputError(f"The array {name!r} cannot be written: {error}.") from error
    return (buffer.getvalue(),)


def encode_diagram(data: bytes, kind: str, about: About = None) -> tuple[bytes, ...]:
    """What Graphviz made, with our mark in it.

    Args:
        data: the file's contents.
        kind: ``svg``, ``png``, ``pdf`` or ``dot``.
        about: what it says of itself, if it is a PNG.
    """
    if kind == "png":
        return (data[:PNG_HEADER], _png_mark(about), data[PNG_HEADER:])
    return _with_last_line(data, kind)


def encode_gif(
    frames: Sequence[npt.NDArray[np.uint8]], seconds: Sequence[float]
) -> tuple[bytes, ...]:
    """Images as an animated GIF that goes round.

    A GIF has 256 colors an image: near ones are chosen.

    Args:
        frames: uint8 (H, W, 3) RGB, or (H, W), at least one, all of one size.
        seconds: for how long each is shown.
    """
    from PIL import Image

    undithered = Image.Dither.NONE  # dots of noise would dance from frame to frame
    first, *others = (Image.fromarray(frame).quantize(256, dither=undithered) for frame in frames)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=others,
        duration=[round(1000 * each) for each in seconds],
        loop=0,
    )
    comment = own_mark()
    return (
        buffer.getvalue()[: -len(_GIF_END)],
        GIF_COMMENT + bytes([len(comment)]) + comment + b"\0" + _GIF_END,
    )


def encode_jpeg(
    image: npt.NDArray[np.uint8], quality: int, about: About = None, *, full_color: bool = False
) -> tuple[bytes, ...]:
    """An image as JPEG.

    Args:
        image: uint8 (H, W, 3) in RGB, or (H, W) in gray, no side longer than 65,500 pixels.
        quality: from 1 to 95.
        about: what it says of itself.
        full_color: whether colors have the resolution of brightness, and not half of it.

    Raises:
        ImageError: ``image`` is none.
        OutputError: it, or what it says of itself, is too large.
    """
    _check_sides(image, "JPEG", _JPEG_LONGEST)
    more = {} if about is None else {"exif": _exif(about)}
    if len(more.get("exif", b"")) > _JPEG_LONGEST_EXIF:
        raise OutputError(
            f"A JPEG has room for {_JPEG_LONGEST_EXIF} bytes that say what it shows; these are "
            f"{len(more['exif'])}. Try --format png."
        )
    options = {"quality": quality, "subsampling": 0 if full_color else 2, **more}
    data = _saved(image, "JPEG", options)
    comment = own_mark()
    mark = JPEG_COMMENT + struct.pack(">H", 2 + len(comment)) + comment
    return (data[:JPEG_HEADER], mark, data[JPEG_HEADER:])


def encode_webp(
    image: npt.NDArray[np.uint8], quality: int, about: About = None
) -> tuple[bytes, ...]:
    """An image as lossy WebP.

    Args:
        image: uint8 (H, W, 3) in RGB, or (H, W) in gray, no side longer than 16,383 pixels.
        quality: from 0 to 100.
        about: what it says of itself.

    Raises:
        ImageError: ``image`` is none.
        OutputError: it is too large.
    """
    _check_sides(image, "WebP", _WEBP_LONGEST)
    options = {"quality": quality, "method": _WEBP_METHOD, "exif": _exif(about)}
    data = _saved(image, "WEBP", options)
    # The mark stands in front, too, where it is found even if the end was never written.
    mark = webp_mark()
    size = struct.pack("<I", len(data) - 8 + len(mark))
    return (data[:4] + size + data[8:WEBP_HEADER], mark, data[WEBP_HEADER:])


def _check_sides(image: npt.NDArray[np.uint8], name: str, longest: int) -> None:
    """Refuse what is no image, or one that a format has no room for."""
    from cnnviz.images.pixels import check_pixels

    check_pixels(image, gray=True)
    if max(image.shape[:2]) > longest:
        raise OutputError(
            f"A {name} has at most {longest} pixels a side; got an image of shape {image.shape}. "
            "Try --format png, or a smaller --size."
        )


def _saved(image: npt.NDArray[np.uint8], name: str, options: Mapping[str, Any]) -> bytes:
    """An image as Pillow writes it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, name, **options)
    return buffer.getvalue()


def _exif(about: About) -> bytes:
    """EXIF data: our mark as ``Software``, which comes last, and what the file says of itself."""
    from PIL import Image

    exif = Image.Exif()
    exif[provenance.EXIF_SOFTWARE] = own_mark().decode("ascii")
    if about is not None:
        exif[provenance.EXIF_DESCRIPTION] = provenance.encode_ascii(about)
    data: bytes = exif.tobytes()
    return data


def encode_markup(text: str) -> tuple[bytes, ...]:
    """A page, Markdown or XML in UTF-8.

    Halves of surrogate pairs, which Python puts for bytes of a name that are not UTF-8, have no
    place in them: they become question marks.
    """
    return _with_last_line(text.encode("utf-8", "replace"), "html")


def encode_script(text: str) -> tuple[bytes, ...]:
    """A script in ASCII, of which a page consists besides."""
    return _with_last_line(text.encode("ascii"), "js")


def encode_run_file(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a manifest, an evaluation or a table, if they begin as such a file does.

    Raises:
        ValueError: they begin otherwise, so that nobody would know the file for ours.
    """
    waiting = iter(parts)
    first = next(waiting, b"")
    if not first.startswith(STARTS):
        raise ValueError(f"A run's file begins with one of {STARTS}, not with {first[:40]!r}.")
    yield first
    yield from waiting


def _with_last_line(data: bytes, kind: str) -> tuple[bytes, ...]:
    before, after = LAST_LINES[kind]
    return (data.rstrip(b"\n"), b"\n" + before + own_mark() + after + b"\n")


def _png_mark(about: About) -> bytes:
    """Our mark, which is looked for right behind the header, and what the file says of itself."""
    mark = _chunk(b"tEXt", PNG_SOFTWARE + own_mark())
    return mark if about is None else mark + _chunk(*provenance.png_text(about))


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)))
