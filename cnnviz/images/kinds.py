"""Recognize formats by their first bytes: those that are read, and what all others are called."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

READ = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "PNM", "NPY", "NPZ")
"""The kinds that are read, whatever their names end in."""

HEAD = 4096
"""How many of a file's first bytes tell its kind."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ZIP_SIGNATURE = b"PK\3\4"  # of archives that hold something, NumPy's and PyTorch's among them
PNM = re.compile(
    rb"P([1-6])(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})(?=[\s#])"
)
"""The beginning of a PNM file: its number, width and height."""

_DIB_HEADERS = (40, 52, 56, 64, 108, 124)


def kind_read(head: bytes) -> str | None:
    """Which of :data:`READ` a file begins like, if any."""
    if head.startswith(b"\xff\xd8"):
        return "JPEG"
    if head.startswith(PNG_SIGNATURE):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"BM") or is_bare_bitmap(head):
        return "BMP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if PNM.match(head[:HEAD]):
        return "PNM"
    if head.startswith(b"\x93NUMPY"):
        return "NPY"
    if head.startswith(ZIP_SIGNATURE) and b".npy" in head[:128]:
        return "NPZ"
    return None


def is_bare_bitmap(head: bytes) -> bool:
    """Whether a file is a bitmap without a file's header, as ``.dib`` files may be."""
    if len(head) < 40:
        return False
    size, _width, _height, planes, bits = struct.unpack_from("<IiiHH", head)
    return size in _DIB_HEADERS and planes == 1 and bits in (1, 4, 8, 16, 24, 32)


@dataclass(frozen=True)
class Kind:
    """A kind of files that is not read.

    Attributes:
        name: what it is called, without an article.
        advice: what to do with it.
        image: whether it holds an image.
    """

    name: str
    advice: str
    image: bool = False

    def __str__(self) -> str:
        vowel = self.name[0].lower() in "aeiou" or self.name.split()[0] in _SAID_LIKE_VOWELS
        return f"it is {'an' if vowel else 'a'} {self.name}{self.advice}"


_SAID_LIKE_VOWELS = ("SVG", "HDF5", "XML", "XPM", "MNG", "SGI")


def _image(name: str, advice: str = "; convert it to JPEG or PNG") -> Kind:
    return Kind(name, f", which cnnviz does not read{advice}", image=True)


def _video(name: str) -> Kind:
    return Kind(name, "; save the frames that matter as images, for instance with ffmpeg")


def _archive(name: str) -> Kind:
    return Kind(name, "; unpack it, and name the folder")


RAW = _image("camera's raw file", "; develop it to JPEG, PNG or TIFF")
_ARRAY = "; save its pixels as TIFF or NPY, or give the array to cnnviz.explain() in Python"
_HEIC, _AVIF = _image("HEIC image"), _image("AVIF image")
_JPEG_2000, _JPEG_XL = _image("JPEG 2000 image"), _image("JPEG XL image")
_POSTSCRIPT = _image("PostScript drawing (EPS)", "; export it as PNG")
_MP4 = _video("video (MP4)")
_PAGE = Kind(
    "web page (HTML)",
    ", perhaps an error message that was saved in the image's place; download the image again",
)
_TEXT = Kind("text file", ", not an image")

# From the formats' own specifications.
_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", _JPEG_2000),
    (b"\xff\x4f\xff\x51", _JPEG_2000),
    (b"\0\0\0\x0cJXL \r\n\x87\n", _JPEG_XL),
    (b"\xff\x0a", _JPEG_XL),
    (b"8BPS", _image("Photoshop document (PSD)")),
    (b"gimp xcf", _image("GIMP document (XCF)")),
    (b"%PDF-", Kind("PDF document", "; export its pages as PNG", image=True)),
    (b"%!PS", _POSTSCRIPT),
    (b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (b"AT&TFORM", _image("DjVu document")),
    (b"\x76\x2f\x31\x01", _image("OpenEXR image")),
    (b"#?RADIANCE", _image("Radiance HDR image")),
    (b"#?RGBE", _image("Radiance HDR image")),
    (b"PF\n", _image("PFM image")),
    (b"Pf\n", _image("PFM image")),
    (b"P7\n", _image("PAM image")),
    (b"\x59\xa6\x6a\x95", _image("Sun raster image")),
    (b"\x01\xda", _image("SGI image")),
    (b"II\xbc\x01", _image("JPEG XR image")),
    (b"BPG\xfb", _image("BPG image")),
    (b"FLIF", _image("FLIF image")),
    (b"qoif", _image("QOI image")),
    (b"DDS ", _image("DDS texture")),
    (b"icns", _image("icon (ICNS)")),
    (b"\0\0\1\0", _image("icon (ICO)")),
    (b"\0\0\2\0", _image("cursor (CUR)")),
    (b"\x8aMNG\r\n", _image("MNG animation")),
    (b"\x8bJNG\r\n", _image("JNG image")),
    (b"SIMPLE  =", _image("FITS image")),
    (b"/* XPM */", _image("XPM image")),
    (b"\xd7\xcd\xc6\x9a", _image("Windows metafile (WMF)")),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"FOVb", RAW),
    (b"\0MRM", RAW),
    (b"\x89HDF\r\n\x1a\n", Kind("HDF5 file", _ARRAY)),
    (b"MATLAB 5.0", Kind("MATLAB file", _ARRAY)),
    (b"\x1a\x45\xdf\xa3", _video("video (Matroska or WebM)")),
    (b"\0\0\1\xba", _video("video (MPEG)")),
    (b"\0\0\1\xb3", _video("video (MPEG)")),
    (b"FLV\1", _video("video (Flash)")),
    (b"\x30\x26\xb2\x75", _video("video (WMV)")),
    (b"OggS", _video("video or sound (Ogg)")),
    (ZIP_SIGNATURE, _archive("ZIP archive")),
    (b"PK\5\6", _archive("ZIP archive")),
    (b"\x1f\x8b", _archive("gzip archive")),
    (b"BZh", _archive("bzip2 archive")),
    (b"\xfd7zXZ\0", _archive("xz archive")),
    (b"\x28\xb5\x2f\xfd", _archive("Zstandard archive")),
    (b"7z\xbc\xaf\x27\x1c", _archive("7-Zip archive")),
    (b"Rar!\x1a\7", _archive("RAR archive")),
    (
        b"version https://git-lfs.github.com/spec/",
        Kind("Git LFS pointer", ", not the image itself; fetch that with git lfs pull"),
    ),
    (
        b"\0\5\x16\7",
        Kind("macOS attribute file", ", not an image; its image is the one without ._"),
    ),
)
_HEIC_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1".split())


def kind_unread(head: bytes) -> Kind | None:
    """What a file is that is not read, if its beginning tells."""
    if head[4:8] == b"ftyp":
        return _by_brands(head)
    if head[128:132] == b"DICM":
        return _image("DICOM file", "; export it to PNG with the window that shows what matters")
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return _video("video (AVI)")
    if head[257:262] == b"ustar":
        return _archive("tar archive")
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return _image("NIfTI image", "; export its slices as PNG")
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if len(head) >= 16 and not any(head):
        return Kind("file of zeros", ", as interrupted copies and full disks leave behind")
    return _text(head)


def _by_brands(head: bytes) -> Kind:
    """Of the family of MP4: the brands that a file says it follows."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))]
    if any(brand in (b"avif", b"avis") for brand in brands):
        return _AVIF
    if any(brand in _HEIC_BRANDS for brand in brands):
        return _HEIC
    if brands[0] == b"crx ":
        return RAW
    if brands[0] in (b"jp2 ", b"jpx "):
        return _JPEG_2000
    return _video("video (QuickTime)") if brands[0] == b"qt  " else _MP4


def _text(head: bytes) -> Kind | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text and text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")):
        return _image("SVG drawing", "; export it as PNG")
    if text.startswith((b"<!doctype html", b"<html")) or b"<html" in text[:512]:
        return _PAGE
    if text.startswith(b"<?xml"):
        return Kind("XML file", ", not an image")
    if text and not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head):
        try:
            head[:-4].decode("utf-8")  # a letter may be cut
        except UnicodeDecodeError as error:
            if error.start < len(head) - 8:
                return None
        return _TEXT
    return None
