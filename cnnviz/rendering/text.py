"""Words on images.

They are set in the font that Pillow brings, so that they look the same everywhere. It knows little
beyond ASCII: a name that needs more is set in a font of the system that has all of its characters,
or else in plain letters, with a question mark for what has none.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Callable
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnnviz.types import RgbImage

SMALLEST_TEXT = 13
"""Size of the smallest letters, in pixels from the top of the highest to the foot of the lowest."""

SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "unifont.ttf",
)
"""Fonts that are looked for, in this order, when a text needs more than Pillow's own font has."""

ELLIPSIS = "…"

PAPER = 255  # the gray of what is written on
_INK = 32
_TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_MISSING = "\U0010fffe"  # no character, and none ever: shown as what a font lacks
# Signs that shapes and names are written with, in signs that every font has.
_SIGNS = str.maketrans({"×": "x", "–": "-", "—": "-", "−": "-", "→": ">", "\u00a0": " "})


def readable_size(size: float) -> int:
    """The size of letters nearest to this one that can be read."""
    return max(SMALLEST_TEXT, round(size))


def line_height(size: int) -> int:
    """Height in pixels of a line of text."""
    return round(1.5 * size)


def write_line(
    canvas: RgbImage, text: str, size: int, top: int, left: int, width: int, align: float = 0.0
) -> None:
    """Write a line, no wider than ``width``; ``align`` from 0, at the left, to 1, at the right."""
    ready, font = _setting(text, size)
    ready = _shortened(ready, font, width)
    if not ready:
        return
    line = Image.new("L", (width, line_height(size)), PAPER)
    start = align * (width - font.getlength(ready))
    ImageDraw.Draw(line).text((start, 1.1 * size), ready, fill=_INK, font=font, anchor="ls")
    canvas[top : top + line.height, left : left + width] = np.asarray(line)[:, :, None]


def text_width(text: str, size: int) -> int:
    """Width in pixels that a line takes."""
    ready, font = _setting(text, size)
    return math.ceil(float(font.getlength(ready)))


def wrapped(text: str, size: int, width: int, most: int | None = None) -> list[str]:
    """The text in lines that fit the width; a word alone in its line may be longer.

    What would take more than ``most`` lines loses its middle.
    """
    lines = _broken(text, size, width)
    if most is None or len(lines) <= most:
        return lines

    def cut(kept: int) -> list[str]:
        # A space, so that a line may end where something was left out.
        return _broken(_ends(text, kept, f"{ELLIPSIS} "), size, width)

    def fits(kept: int) -> bool:
        lines = cut(kept)
        return len(lines) <= most and all(text_width(line, size) <= width for line in lines)

    return cut(max(0, _most(len(text), fits)))


def _broken(text: str, size: int, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, or as much of its two ends as fits the width."""
    if font.getlength(text) <= width:
        return text
    kept = _most(len(text), lambda kept: bool(font.getlength(_ends(text, kept)) <= width))
    return _ends(text, kept) if kept >= 0 else ""


def _most(length: int, fits: Callable[[int], bool]) -> int:
    """The largest number below ``length`` that fits, -1 if even 0 does not."""
    best, too_long = -1, length
    while too_long - best > 1:
        middle = (best + too_long) // 2
        if fits(middle):
            best = middle
        else:
            too_long = middle
    return best


def _ends(text: str, kept: int, between: str = ELLIPSIS) -> str:
    head, tail = text[: (kept + 1) // 2], text[len(text) - kept // 2 :]
    return f"{head.rstrip()}{between}{tail.lstrip()}"


@functools.lru_cache(maxsize=1024)  # names and layers come again with every image of a run
def _setting(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """What is written for a text, and in which font."""
    usual = _own_font(size)
    # Neither line breaks nor halves of characters, which file names can hold, nor signs that turn
    # the order of the letters after them.
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)
    text = "".join(c for c in text if c not in _TURNING)
    plain = text.translate(_SIGNS)
    if _has(usual, plain):
        return plain, usual
    for name in SYSTEM_FONTS:
        font = _system_font(name, size)
        if font is not None and _has(font, text + ELLIPSIS):
            return text, font
    letters = unicodedata.normalize("NFKD", plain)
    letters = "".join(c for c in letters if not unicodedata.combining(c))
    return "".join(c if _has(usual, c) else "?" for c in letters), usual


def _has(font: ImageFont.FreeTypeFont, text: str) -> bool:
    """Whether the font has all characters."""
    missing = _form(font, _MISSING)
    return all(c == " " or _form(font, c) != missing for c in set(text))


def _form(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


@functools.lru_cache(maxsize=16)
def _own_font(size: int) -> ImageFont.FreeTypeFont:
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))  # it is, of any size


@functools.lru_cache(maxsize=64)
def _system_font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:  # not on this machine
        return None
