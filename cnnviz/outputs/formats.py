"""What is in the files that cnnviz writes, as bytes, with a mark by which it knows them again.

The mark is the ``Software`` text of a PNG, the comment of a JPEG or a zip archive, the last comment
of a GIF, the last line of a diagram or a page, and the first words of a manifest. PNGs and ``.npz``
files also say what they show (:mod:`cnnviz.outputs.provenance`). :mod:`cnnviz.outputs.files` writes
the bytes. NumPy is imported by what writes arrays: a diagram needs none.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnviz._version import __version__
from cnnviz.errors import OutputError
from cnnviz.images.kinds import PNG_SIGNATURE
from cnnviz.outputs import provenance
from cnnviz.outputs.provenance import LONGEST_COMMENT

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_PNG_HEADER = 33  # signature and IHDR chunk
_PNG_UP = 2  # the filter type that subtracts the row above
# ISA-L's level 1 takes a sixth of the time of libpng, which OpenCV writes with, for files a fifth
# larger; its higher levels find next to nothing more in photos and enlarged maps.
_PNG_LEVEL = 1
_MARK = b"cnnviz "
_PNG_SOFTWARE = b"Software\0"
#: How the last line of a diagram or a page, a comment, begins and ends.
_LAST_LINES = {
    "dot": (b"// written by ", b""),
    "pdf": (b"% written by ", b""),
    "svg": (b"<!-- written by ", b" -->"),
    "html": (b"<!-- written by ", b" -->"),
}
#: What a manifest begins with, for a tool that has not read it to its end.
MANIFEST_START = b'{"cnnviz_manifest":'
# JFIF has its own segment first, of this length; the comment comes right behind.
_JPEG_START = b"\xff\xd8\xff\xe0"
_JPEG_HEADER = 20
_JPEG_LONGEST = 65500  # libjpeg's limit; the format's is 65535
_JPEG_COMMENT = b"\xff\xfe"  # introduces a comment: its length in two bytes, its bytes
_GIF_COMMENT = b"!\xfe"  # introduces a comment: its length, its bytes, and 0
_GIF_END = b";"
_ZIP_END = 22  # end of central directory, without its comment


About = Mapping[str, Any] | None
"""What a file says of itself (:mod:`cnnviz.outputs.provenance`), or nothing."""


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


def encode_jpeg(image: npt.NDArray[np.uint8], quality: int) -> tuple[bytes, ...]:
    """An image as JPEG.

    Args:
        image: uint8 (H, W, 3) in RGB, or (H, W) in gray, no side longer than 65,500 pixels.
        quality: from 1 to 95.

    Raises:
        ImageError: ``image`` is none.
        OutputError: it is too large.
    """
    from cnnviz.images.pixels import check_pixels

    check_pixels(image, gray=True)
    if max(image.shape[:2]) > _JPEG_LONGEST:
        raise OutputError(
            f"A JPEG has at most {_JPEG_LONGEST} pixels a side; got an image of shape "
            f"{image.shape}."
        )
    buffer = io.BytesIO()
    from PIL import Image

    Image.fromarray(image).save(buffer, "JPEG", quality=quality, comment=_mark())
    return (buffer.getvalue(),)


def encode_html(text: str) -> tuple[bytes, ...]:
    """A page in UTF-8.

    Halves of surrogate pairs, which Python puts for bytes of a name that are not UTF-8, have no
    place in a page: they become question marks.
    """
    return _with_last_line(text.encode("utf-8", "replace"), "html")


def encode_manifest(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a manifest, if they begin with :data:`MANIFEST_START`.

    Raises:
        ValueError: they begin otherwise, so that nobody would know the file for ours.
    """
    waiting = iter(parts)
    first = next(waiting, b"")
    if not first.startswith(MANIFEST_START):
        raise ValueError(f"A manifest begins with {MANIFEST_START!r}, not with {first[:40]!r}.")
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
        if head.startswith(MANIFEST_START):
            return True
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ZIP_END - 64))
        tail = file.read()
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
