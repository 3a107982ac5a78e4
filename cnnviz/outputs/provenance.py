"""What a file that cnnviz wrote says of itself: what it shows, and of which network and image.

A PNG has it as a text chunk (``iTXt``) with the keyword ``cnnviz``; a JPEG or WebP as the EXIF tag
``ImageDescription``, beside ``Software``, which is cnnviz; an ``.npz`` as the comments of its
entries, in their order, which belong together. It is JSON, in UTF-8 (in EXIF in ASCII, with
escapes); in version 1

    {"cnnviz_about": 1,
     "cnnviz": "0.1.0",
     "shows": "gradcam",
     "image": {"name": "a/cat.jpg", "sha256": "5e5..."},
     "network": {"name": "vgg16", "weights": "9fa..."},
     "layers": ["features.28"],
     "methods": [{"name": "gradcam", "key": "gradcam", "title": "Grad-CAM",
                  "options": {"relu": "standard"}, "relu": ["standard"]}],
     "classes": [{"index": 281, "name": "tabby, tabby cat"}]}

``shows``
    the key of a map, as in the file's name; or ``original``, ``arrays``, ``panel``, ``contrast``,
    ``activations``, ``filters``, ``maximized``, ``steps`` (of maximizing), ``diagram``.
``image``
    ``name``, below the folder that was given, and the file's ``sha256``, which is null of an image
    that came from Python as pixels; null where there is no image.
``network``
    its ``name``, and the SHA-256 of the file with its ``weights``, or null.
``layers``, ``methods``, ``classes``
    those that the file depends on, so perhaps none. A method's ``relu`` are the rules for ReLUs on
    the way back of all that it is composed of; a contrast has two classes, the first in red.
``channels``
    those shown, in order, where these are of a layer.
``similar_to``
    of each other image that this one's similarity to is explained the ``name``, as it was given,
    and the ``sha256``; not there otherwise.

Surrogates (``\\udc80``) stand for bytes of names that are not UTF-8. A version with other keys, or
keys that mean something else, has the next number.

Nothing heavy is imported here, but for Pillow where EXIF is read.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from cnnviz._version import __version__
from cnnviz.errors import ImageError, UsageError
from cnnviz.images.kinds import PNG_SIGNATURE, ZIP_SIGNATURE
from cnnviz.structure import decode, parse
from cnnviz.text import printable

if TYPE_CHECKING:
    from cnnviz.weights.info import WeightsInfo

VERSION = 1

PNG_KEYWORD = b"cnnviz"
EXIF_DESCRIPTION, EXIF_SOFTWARE = 0x010E, 0x0131
LONGEST_COMMENT = 0xFFFF
"""Bytes that a zip archive has room for with each entry."""

_PNG_TEXT = b"iTXt"
#: Behind the keyword: not compressed; no language; the keyword is not translated.
_PNG_PLAIN = b"\0\0\0\0\0"
_EXIF_START = b"Exif\0\0"
_JPEG_START = b"\xff\xd8\xff"
_JPEG_EXIF, _JPEG_SCAN = 0xE1, 0xDA  # markers of segments
_LONGEST = 1 << 20
_MOST_CHUNKS = 1 << 20


@dataclass(frozen=True)
class _Image:
    name: str
    sha256: str | None


@dataclass(frozen=True)
class _Network:
    name: str
    weights: str | None


@dataclass(frozen=True)
class _Method:
    name: str
    key: str
    title: str
    options: Mapping[str, Any]
    relu: tuple[str, ...]


@dataclass(frozen=True)
class _Class:
    index: int
    name: str | None


@dataclass(frozen=True)
class _About:
    """What a file has to say of itself, as the module's text has it."""

    cnnviz_about: int
    cnnviz: str
    shows: str
    image: _Image | None
    network: _Network
    layers: tuple[str, ...]
    methods: tuple[_Method, ...]
    classes: tuple[_Class, ...]
    channels: tuple[int, ...]
    similar_to: tuple[_Image, ...]


@dataclass(frozen=True)
class Origin:
    """Where files come from.

    Attributes:
        network: what the network is called.
        weights: the SHA-256 of its weights' file, if they are from one.
        image: what the image is called, if there is one.
        sha256: of the image's file, if there is one.
    """

    network: str = "network"
    weights: str | None = None
    image: str | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, network: str, weights: WeightsInfo | None) -> Origin:
        """Files about a network, not about an image."""
        return cls(network, None if weights is None else weights.sha256)

    def describe(
        self,
        shows: str,
        *,
        layers: Iterable[str] = (),
        methods: Iterable[Mapping[str, Any]] = (),
        classes: Iterable[tuple[int, str | None]] = (),
        **more: Any,
    ) -> dict[str, Any]:
        """What a file says of itself, as the module's text has it.

        Args:
            shows: likewise.
            layers: their names.
            methods: as there.
            classes: index, and name if there is one.
            more: further keys.
        """
        image = None if self.image is None else {"name": self.image, "sha256": self.sha256}
        return {
            "cnnviz_about": VERSION,
            "cnnviz": __version__,
            "shows": shows,
            "image": image,
            "network": {"name": self.network, "weights": self.weights},
            "layers": list(layers),
            "methods": list(methods),
            "classes": [{"index": index, "name": name} for index, name in classes],
            **more,
        }


def encode(about: Mapping[str, Any]) -> bytes:
    """It as files hold it."""
    try:
        return json.dumps(about, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # bytes of a name that are not UTF-8
        return encode_ascii(about).encode("ascii")


def encode_ascii(about: Mapping[str, Any]) -> str:
    """It as EXIF holds it, where texts are in ASCII."""
    return json.dumps(about, allow_nan=False)


def png_text(about: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Name and contents of the chunk that a PNG has it in."""
    return _PNG_TEXT, PNG_KEYWORD + _PNG_PLAIN + encode(about)


def about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file that cnnviz wrote says of itself: what it shows, of which network and image.

    Args:
        path: a PNG, JPEG, WebP or ``.npz``.

    Returns:
        As ``cnnviz/outputs/provenance.py`` documents it: ``shows``, ``image``, ``network``,
        ``layers``, ``methods``, ``classes`` and ``cnnviz``, the version that wrote it.

    Raises:
        UsageError: there is no such file.
        ImageError: it cannot be read, or says nothing of itself.
    """
    shown = printable(os.fsdecode(path))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(f"{shown} is not a file: give an image or .npz that cnnviz wrote.")
        with open(path, "rb") as file:
            text = _text(file)
        if text is None:
            raise ImageError(
                f"{shown} does not say what it shows. Images and .npz files written by cnnviz do, "
                "unless an early version wrote them or another program saved them again."
            )
        return _decoded(text)
    except FileNotFoundError:
        raise UsageError(f"There is no file {shown}; check the path.") from None
    except OSError as error:
        raise ImageError(f"{shown} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ImageError(f"{shown} is damaged where it says what it shows: {error}.") from error


def _decoded(text: bytes) -> dict[str, Any]:
    """The object in a text; ValueError says what is wrong with it."""
    if len(text) > _LONGEST:
        raise ValueError(f"that is more than {_LONGEST:,} bytes")
    found = parse(text.decode("utf-8"))
    if not isinstance(found, dict) or "cnnviz_about" not in found:
        raise ValueError("it has no cnnviz_about")
    if found["cnnviz_about"] != VERSION:
        raise ValueError(
            f"it is in version {found['cnnviz_about']!r:.20}, and this cnnviz knows {VERSION}"
        )
    decode(_About, {"channels": [], "similar_to": [], **found}, "it")
    return found


def _text(file: BinaryIO) -> bytes | None:
    """What the file has to say, if it is of a kind that may; no more than a byte too much."""
    start = file.read(len(PNG_SIGNATURE))
    if start == PNG_SIGNATURE:
        return _from_png(file)
    if start.startswith(_JPEG_START):
        return _from_exif(_jpeg_exif(file))
    if start.startswith(b"RIFF") and file.read(4) == b"WEBP":
        return _from_exif(_webp_exif(file))
    return _from_zip(file) if start.startswith(ZIP_SIGNATURE) else None


def _from_png(file: BinaryIO) -> bytes | None:
    """Of a PNG, behind its signature. Chunks of other kinds are passed over, whatever they hold."""
    for _ in range(_MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IEND":
            return None
        length, kind = struct.unpack(">I4s", header)
        start = PNG_KEYWORD + b"\0"
        begun = file.read(min(length, len(start))) if kind == _PNG_TEXT else b""
        if begun != start:
            file.seek(length - len(begun) + 4, os.SEEK_CUR)
            continue
        rest = file.read(min(length, _LONGEST + 64) - len(begun) + 4)
        body, checksum = begun + rest[:-4], rest[-4:]
        if length > _LONGEST + 64:
            raise ValueError(f"that is {length:,} bytes")
        if len(body) < length or checksum != struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))):
            raise ValueError("it is cut off, or its checksum is another")
        if not body.startswith(PNG_KEYWORD + _PNG_PLAIN):
            raise ValueError("it is compressed, or in some language")
        return body[len(PNG_KEYWORD + _PNG_PLAIN) :]
    return None


def _jpeg_exif(file: BinaryIO) -> bytes | None:
    """The EXIF data of a JPEG, which lies before its first scan."""
    file.seek(2)
    for _ in range(_MOST_CHUNKS):
        header = file.read(4)
        if len(header) < 4 or header[0] != 0xFF or header[1] == _JPEG_SCAN:
            return None
        _, marker, length = struct.unpack(">BBH", header)
        if marker == _JPEG_EXIF:
            body = file.read(max(0, length - 2))
            if body.startswith(_EXIF_START):
                return body[len(_EXIF_START) :]
        else:
            file.seek(max(0, length - 2), os.SEEK_CUR)
    return None


def _webp_exif(file: BinaryIO) -> bytes | None:
    """The EXIF data of a WebP, behind its signature."""
    for _ in range(_MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return None
        kind, length = struct.unpack("<4sI", header)
        if kind == b"EXIF":
            if length > 2 * _LONGEST:
                raise ValueError(f"that is {length:,} bytes")
            return file.read(length).removeprefix(_EXIF_START)
        file.seek(length + (length & 1), os.SEEK_CUR)
    return None


def _from_exif(data: bytes | None) -> bytes | None:
    """Of EXIF data, in which cameras write descriptions too."""
    if data is None:
        return None
    from PIL import Image

    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage, which is found below
            exif.load(data)
            software, text = exif.get(EXIF_SOFTWARE), exif.get(EXIF_DESCRIPTION)
    except (SyntaxError, struct.error, KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"its EXIF data cannot be read ({error})") from error
    if not (isinstance(software, str) and software.startswith("cnnviz ")):
        return None
    return text.encode("utf-8") if isinstance(text, str) else None


def _from_zip(file: BinaryIO) -> bytes | None:
    """Of an archive: the comments of its entries."""
    try:
        with zipfile.ZipFile(file) as archive:
            return b"".join(entry.comment for entry in archive.infolist()) or None
    except (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError) as error:
        raise ValueError(f"its list of entries cannot be read ({error})") from error
