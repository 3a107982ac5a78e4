"""Sizes and numbers as one writes them, in configuration files and on the command line."""

from __future__ import annotations

import math
import re


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from ``224`` or ``480x640``.

    Raises:
        ValueError: it is neither; the text says what is wanted.
    """
    match = re.fullmatch(r"(\d{1,5})(?:\s*[x×X]\s*(\d{1,5}))?", text.strip())
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < 1:
        raise ValueError("a number of pixels from 1 on, or height by width, such as 480x640")
    return size


def parse_numbers(text: str) -> tuple[float, ...]:
    """Numbers separated by commas, one for each channel.

    Raises:
        ValueError: it is none; the text says what is wanted.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError(
            "a number for each channel: one for gray, three, such as 0.485,0.456,0.406, for red, "
            "green and blue (for blue, green and red with channels bgr)"
        )
    return numbers


def parse_fraction(text: str) -> float:
    """A part of a whole, from ``0.95`` or ``224/232``.

    Raises:
        ValueError: it is none; the text says what is wanted.
    """
    part, _, whole = text.partition("/")
    try:
        fraction = float(part) / float(whole or 1)
    except (ValueError, ZeroDivisionError):
        fraction = 0.0
    if not 0 < fraction <= 1:
        raise ValueError("a number above 0 and at most 1, such as 0.95 or 224/232")
    return fraction


def parse_range(text: str) -> tuple[float, float]:
    """Low and high from ``0:4095``.

    Raises:
        ValueError: it is no range; the text says what is wanted.
    """
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low, high = 0.0, 0.0
    if not (low < high and math.isfinite(high - low)):
        raise ValueError("the values that become 0 and 1, LOW:HIGH, such as 0:4095 or -1:1")
    return low, high


def parse_display(text: str) -> tuple[int, ...]:
    """Indices of one channel or three, separated by commas.

    Raises:
        ValueError: it is neither; the text says what is wanted.
    """
    match = re.fullmatch(r"\d{1,5}(?:\s*,\s*\d{1,5}){0,2}", text.strip())
    indices = tuple(map(int, text.split(","))) if match else ()
    if len(indices) not in (1, 3):
        raise ValueError(
            "the indices of three channels, for red, green and blue, such as 3,2,1, or of one"
        )
    return indices
