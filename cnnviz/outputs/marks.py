"""The marks by which files that cnnviz wrote are known: where each format has it."""

from __future__ import annotations

import os
import struct

from cnnviz._version import __version__
from cnnviz.images.kinds import HEAD, PNG_SIGNATURE, kind_read
from cnnviz.storage.paths import AnyPath, opened
from cnnviz.storage.remote import RemotePath

_MARK = b"cnnviz "
_MARK_WITHIN = 512  # bytes from the start
PNG_SOFTWARE = b"Software\0"
PNG_HEADER = 33  # signature and IHDR chunk
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk: its length, name and checksum
#: How the last line of a diagram or a page, a comment, begins and ends.
LAST_LINES = {
    "dot": (b"// written by ", b""),
    "pdf": (b"% written by ", b""),
    "svg": (b"<!-- written by ", b" -->"),
    "html": (b"<!-- written by ", b" -->"),
    "js": (b"// written by ", b""),
}
#: What a manifest begins with, for a tool that has not read it to its end.
MANIFEST_START = b'{"cnnviz_manifest":'
#: Likewise what ``cnnviz evaluate`` found.
EVALUATION_START = b'{"cnnviz_evaluation":'
#: Likewise what ``cnnviz compare`` found.
COMPARISON_START = b'{"cnnviz_comparison":'
#: The first column of a table, which holds the images' paths.
TABLE_START = b"cnnviz_image,"
#: Likewise a part of one of these.
PART_STARTS = (b'{"cnnviz_manifest_part":', b'{"cnnviz_evaluation_part":')
STARTS = (*PART_STARTS, MANIFEST_START, EVALUATION_START, COMPARISON_START, TABLE_START)
# JFIF has its own segment first, of this length; the comment comes right behind.
_JPEG_START = b"\xff\xd8\xff\xe0"
JPEG_HEADER = 20
JPEG_COMMENT = b"\xff\xfe"  # introduces a comment: its length in two bytes, its bytes
_JPEG_END = b"\xff\xd9"
#: Behind the first chunk, of a WebP that has more than pixels; readers pass over unknown chunks.
WEBP_HEADER = 30
_WEBP_CHUNK = b"cnvz"
GIF_COMMENT = b"!\xfe"  # introduces a comment: its length, its bytes, and 0
_ZIP_START = b"PK\3\4"
_ZIP_HEADER = 30  # of an entry, without its name and its extra field
_ZIP_EXTRA = 0x7A63  # a number that nobody else has for a part of extra fields
_ZIP_END = 22  # end of central directory, without its comment


def written_by_cnnviz(path: str | os.PathLike[str] | RemotePath) -> bool:
    """Whether a file carries the mark that :mod:`cnnviz.outputs.formats` leaves."""
    with opened(path) as file:
        head = file.read(_MARK_WITHIN)
        if head.startswith(PNG_SIGNATURE):
            return head[PNG_HEADER + 4 :].startswith(b"tEXt" + PNG_SOFTWARE + _MARK)
        if head.startswith(_JPEG_START):
            comment = head[JPEG_HEADER:]
            return comment.startswith(JPEG_COMMENT) and comment[4:].startswith(_MARK)
        if head.startswith(STARTS) or _begins_with_mark(head):
            return True
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ZIP_END - 64))
        tail = file.read()
        if kind_read(head) == "WebP":
            return _last_text(tail).startswith(_MARK)
        if head.startswith(b"GIF8"):
            mark = tail.rfind(GIF_COMMENT)
            return mark >= 0 and tail[mark + len(GIF_COMMENT) + 1 :].startswith(_MARK)
        if not head.startswith(b"PK"):
            last = tail.splitlines()[-1] if tail else b""
            return any(
                last.startswith(before + _MARK) and last.endswith(after)
                for before, after in LAST_LINES.values()
            )
        end = tail.rfind(b"PK\5\6")
        return end >= 0 and tail[end + _ZIP_END :].startswith(_MARK)


def is_foreign(path: AnyPath) -> bool:
    """Whether there is something that cnnviz did not write.

    Raises:
        OSError: that cannot be found out.
    """
    if isinstance(path, RemotePath):
        try:
            return not written_by_cnnviz(path)
        except FileNotFoundError:
            return False
    return os.path.lexists(path) and not (path.is_file() and written_by_cnnviz(path))


def _begins_with_mark(head: bytes) -> bool:
    """Whether a WebP or an ``.npz`` begins as ours do, whatever became of the rest."""
    if head.startswith(_ZIP_START) and len(head) > _ZIP_HEADER:
        (length,) = struct.unpack("<H", head[_ZIP_HEADER - 4 : _ZIP_HEADER - 2])
        return head[_ZIP_HEADER + length :].startswith(zip_mark()[:4] + _MARK)
    start = _WEBP_CHUNK + webp_mark()[4:8] + _MARK
    return kind_read(head) == "WebP" and head[WEBP_HEADER:].startswith(start)


def is_complete(path: str | os.PathLike[str] | RemotePath) -> bool:
    """Whether an image or .npz that cnnviz wrote exists, is this version's, and is not cut off.

    A power cut may leave a part of it, or zeros. Objects behind URLs are whole if they are there.
    """
    try:
        if isinstance(path, RemotePath):
            return path.exists()
        with open(path, "rb") as file:
            kind = kind_read(file.read(HEAD))
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64))
            tail = file.read()
        if kind == "PNG":
            whole = tail.endswith(_PNG_END)
        elif kind == "JPEG":
            whole = tail.endswith(_JPEG_END)
        elif kind == "WebP":
            whole = _last_text(tail) == own_mark()
        else:  # a .npz ends with our mark
            whole = tail.endswith(__version__.encode("ascii"))
        return whole and written_by_cnnviz(path)
    except OSError:
        return False


def _last_text(tail: bytes) -> bytes:
    """The last text in EXIF data at the end of a file: it ends with one zero byte, or two."""
    return tail.rstrip(b"\0").rpartition(b"\0")[2]


def own_mark() -> bytes:
    """The mark, with the version of cnnviz."""
    return _MARK + __version__.encode("ascii")


def webp_mark() -> bytes:
    """The mark as a chunk of a WebP, which has an even length."""
    mark = own_mark()
    return _WEBP_CHUNK + struct.pack("<I", len(mark)) + mark + b"\0" * (len(mark) % 2)


def zip_mark() -> bytes:
    """The mark as a part of an extra field."""
    mark = own_mark()
    return struct.pack("<HH", _ZIP_EXTRA, len(mark)) + mark
