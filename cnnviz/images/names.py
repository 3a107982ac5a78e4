"""What names of files say: which are taken for images, and in which order they stand."""

from __future__ import annotations

import re
from pathlib import PurePath

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi"),
    *(".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
"""What in a folder is taken for an image by its name, in any case; of others the first bytes
decide. A file named explicitly may have any suffix."""

ARRAY_SUFFIX = ".npy"
"""What is taken for an image, too, in a folder without any of :data:`IMAGE_SUFFIXES`."""

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""What is taken for a folder: one that is given, or lies in a folder without any image. Reading a
compressed one says that it has to be decompressed."""

_NUMBERS = re.compile(r"([0-9]+)")
# What a token of a key begins with: of two texts the one that ends first comes first, then numbers.
_PART, _NUMBER, _TEXT = "\1", "\2", "\3"
_LENGTHS = 16  # where the characters begin that stand for the length of a number


def is_image(name: str) -> bool:
    """Whether a name is taken for an image's."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_archive(name: str) -> bool:
    """Whether a name is taken for an archive's."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def natural_key(path: PurePath) -> str:
    """A sorting key: digits by value, letters without case, and the exact name in the end.

    One string, for a list of millions is sorted by it.
    """
    parts = (
        "".join(_token(token) for token in _NUMBERS.split(part) if token) for part in path.parts
    )
    return f"{_PART.join(parts)}\0{path}"


def _token(token: str) -> str:
    if not token.isdecimal():
        return _TEXT + token.casefold()
    digits = str(int(token)) if len(token) < 19 else token.lstrip("0")
    return f"{_NUMBER}{chr(_LENGTHS + len(digits))}{digits}"
