"""What is in the files that cnnviz writes, as bytes, with a mark by which it knows them again.

The mark is the ``Software`` text of a PNG, the comment of a JPEG or a zip archive, the EXIF tag
``Software`` at the end of a WebP, the last comment of a GIF, the last line of a diagram or a page,
and the first words of a manifest, an evaluation or a table. Images and ``.npz`` files also say what
they show (:mod:`cnnviz.outputs.provenance`). :mod:`cnnviz.outputs.files` writes the bytes. NumPy
and Pillow are imported by what needs them: a diagram needs none.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from cnnviz._version import __version__
from cnnviz.errors import OutputError, UsageError
from cnnviz.images.kinds import HEAD, PNG_SIGNATURE, kind_read
from cnnviz.outputs import provenance
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

_PNG_HEADER = 33  # signature and IHDR chunk
_PNG_UP = 2  # the filter type that subtracts the row above
# ISA-L's level 1 takes a sixth of the time of libpng, which OpenCV writes with, for files a fifth
# larger; its higher levels find next to nothing more in photos and enlarged maps.
_PNG_LEVEL = 1
_MARK = b"cnnviz "
_PNG_SOFTWARE = b"Software\0"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk: its length, name and checksum
#: How the last line of a diagram or a page, a comment, begins and ends.
_LAST_LINES = {
    "dot": (b"// written by ", b""),
    "pdf": (b"% written by ", b""),
    "svg": (b"<!-- written by ", b" -->"),
    "html": (b"<!-- written by ", b" -->"),
}
#: What a manifest begins with, for a tool that has not read it to its end.
MANIFEST_START = b'{"cnnviz_manifest":'
#: Likewise what ``cnnviz evaluate`` found.
EVALUATION_START = b'{"cnnviz_evaluation":'
#: The first column of a table, which holds the images' paths.
TABLE_START = b"cnnviz_image,"
_STARTS = (MANIFEST_START, EVALUATION_START, TABLE_START)
# JFIF has its own segment first, of this length; the comment comes right behind.
_JPEG_START = b"\xff\xd8\xff\xe0"
_JPEG_HEADER = 20
_JPEG_LONGEST = 65500  # libjpeg's limit; the format's is 65535
_JPEG_COMMENT = b"\xff\xfe"  # introduces a comment: its length in two bytes, its bytes
_JPEG_END = b"\xff\xd9"
_JPEG_LONGEST_EXIF = 65533  # bytes: a segment's length has two, and counts these
_WEBP_LONGEST = 16383
_WEBP_METHOD = 0  # the fastest; the slower ones find 3 % and take three times as long
_GIF_COMMENT = b"!\xfe"  # introduces a comment: its length, its bytes, and 0
_GIF_END = b";"
_ZIP_END = 22  # end of central directory, without its comment


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
    import numpy as np
    from isal import isal_zlib

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
        _chunk(b"IDAT", isal_zlib.compress(filtered, _PNG_LEVEL)),
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
        archive.comment = _mark()
        for number, (name, value) in enumerate(arrays.items()):
            info = zipfile.ZipInfo(f"{name}.npy")  # by hand it has a fixed date
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
        return (data[:_PNG_HEADER], _png_mark(about), data[_PNG_HEADER:])
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
    comment = _mark()
    return (
        buffer.getvalue()[: -len(_GIF_END)],
        _GIF_COMMENT + bytes([len(comment)]) + comment + b"\0" + _GIF_END,
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
    comment = _mark()
    mark = _JPEG_COMMENT + struct.pack(">H", 2 + len(comment)) + comment
    return (data[:_JPEG_HEADER], mark, data[_JPEG_HEADER:])


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
    return (_saved(image, "WEBP", options),)


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
    exif[provenance.EXIF_SOFTWARE] = _mark().decode("ascii")
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


def encode_run_file(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a manifest, an evaluation or a table, if they begin as such a file does.

    Raises:
        ValueError: they begin otherwise, so that nobody would know the file for ours.
    """
    waiting = iter(parts)
    first = next(waiting, b"")
    if not first.startswith(_STARTS):
        raise ValueError(f"A run's file begins with one of {_STARTS}, not with {first[:40]!r}.")
    yield first
    yield from waiting


def written_by_cnnviz(path: str | os.PathLike[str]) -> bool:
    """Whether a file carries the mark that the functions of this module leave."""
    with open(path, "rb") as file:
        head = file.read(_PNG_HEADER + 8 + len(_PNG_SOFTWARE + _MARK))
        if head.startswith(PNG_SIGNATURE):
            return head[_PNG_HEADER + 4 :] == b"tEXt" + _PNG_SOFTWARE + _MARK
        if head.startswith(_JPEG_START):
            comment = head[_JPEG_HEADER:]
            return comment.startswith(_JPEG_COMMENT) and comment[4:].startswith(_MARK)
        if head.startswith(_STARTS):
            return True
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ZIP_END - 64))
        tail = file.read()
        if kind_read(head) == "WebP":
            return _last_text(tail).startswith(_MARK)
        if head.startswith(b"GIF8"):
            mark = tail.rfind(_GIF_COMMENT)
            return mark >= 0 and tail[mark + len(_GIF_COMMENT) + 1 :].startswith(_MARK)
        if not head.startswith(b"PK"):
            last = tail.splitlines()[-1] if tail else b""
            return any(
                last.startswith(before + _MARK) and last.endswith(after)
                for before, after in _LAST_LINES.values()
            )
        end = tail.rfind(b"PK\5\6")
        return end >= 0 and tail[end + _ZIP_END :].startswith(_MARK)


def is_complete(path: str | os.PathLike[str]) -> bool:
    """Whether an image or .npz that cnnviz wrote exists, is this version's, and is not cut off.

    A power cut may leave a part of it, or zeros.
    """
    try:
        with open(path, "rb") as file:
            kind = kind_read(file.read(HEAD))
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64))
            tail = file.read()
        if kind == "PNG":
            whole = tail.endswith(_PNG_END)
        elif kind == "JPEG":
            whole = tail.endswith(_JPEG_END)
        elif kind == "WebP":
            whole = _last_text(tail) == _mark()
        else:  # a .npz ends with our mark
            whole = tail.endswith(__version__.encode("ascii"))
        return whole and written_by_cnnviz(path)
    except OSError:
        return False


def _last_text(tail: bytes) -> bytes:
    """The last text in EXIF data at the end of a file: it ends with one zero byte, or two."""
    return tail.rstrip(b"\0").rpartition(b"\0")[2]


def _with_last_line(data: bytes, kind: str) -> tuple[bytes, ...]:
    before, after = _LAST_LINES[kind]
    return (data.rstrip(b"\n"), b"\n" + before + _mark() + after + b"\n")


def _png_mark(about: About) -> bytes:
    """Our mark, which is looked for right behind the header, and what the file says of itself."""
    mark = _chunk(b"tEXt", _PNG_SOFTWARE + _mark())
    return mark if about is None else mark + _chunk(*provenance.png_text(about))


def _mark() -> bytes:
    return _MARK + __version__.encode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)))
