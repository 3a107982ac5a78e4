"""Words on images, in whatever font there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from cnnviz.rendering import text as lettering
from cnnviz.rendering.grids import strip


def plain(height, width):
    return np.full((height, width, 3), (0, 200, 0), np.uint8)


@pytest.fixture
def without_system_fonts(monkeypatch):
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ())
    lettering._setting.cache_clear()
    yield
    lettering._setting.cache_clear()


@settings(max_examples=30)
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=25, max_size=80))
def test_long_captions_keep_their_ends(text):
    font = lettering._own_font(16)

    result = lettering._shortened(text, font, 200)

    assert font.getlength(result) <= 200
    if result == text:
        return
    head, tail = result.split("…")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert 0 <= len(head) - len(tail) <= 1
    # one more letter would not have fitted
    kept = len(head) + len(tail) + 1
    longer = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
    assert font.getlength(longer) > 200


def test_no_room_no_words():
    assert lettering._shortened("abc", lettering._own_font(16), 3) == ""


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("512×14×14", "512x14x14"),
        ("a–b", "a-b"),
        ("first\nsecond\tthird\x00", "first second third "),
        ("half \udc80 of a pair", "half   of a pair"),
    ],
)
def test_signs_are_written_with_what_every_font_has(text, written):
    cell = plain(50, 400)

    assert (strip([cell], [text]) == strip([cell], [written])).all()


@pytest.mark.usefixtures("without_system_fonts")
@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("café (3): 7", "cafe (3): 7"),
        ("Löwe, cafe\u0301", "Lowe, cafe"),
        ("猫 (281): 37", "? (281): 37"),
        ("🐱🐶", "??"),
        ("עברית", "?????"),
        ("\u200bzero width", "?zero width"),
    ],
)
def test_what_no_font_has_is_plain_letters_or_a_question_mark(text, written):
    cell = plain(50, 400)

    result = strip([cell], [text])

    assert (result == strip([cell], [written])).all()
    assert (result[50:] < 128).any()  # something is written


def test_a_font_of_the_system_writes_what_pillows_own_cannot(monkeypatch):
    try:
        ImageFont.truetype("DejaVuSans.ttf", 16)
    except OSError:
        pytest.skip("DejaVu Sans is not installed")
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ("no such font.ttf", "DejaVuSans.ttf"))
    lettering._setting.cache_clear()

    text, font = lettering._setting("Löwe", 16)
    assert (text, font.getname()[0]) == ("Löwe", "DejaVu Sans")
    plain_text, plain_font = lettering._setting("Loewe", 16)
    assert (plain_text, plain_font.getname()[0]) == ("Loewe", "Aileron")
    lettering._setting.cache_clear()


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=[]), max_size=12))
def test_any_text_can_be_written(text):
    cell = plain(20, 150)

    result = strip([cell], [text])

    assert (result[:20, :150] == cell).all() or result.shape[1] > 150
    assert result.shape == strip([cell], ["a"]).shape


@settings(max_examples=50)
@given(st.lists(st.text("abcdefgh", min_size=1, max_size=9), max_size=40), st.integers(1, 4))
def test_text_in_so_many_lines_keeps_its_ends(words, most):
    text = " ".join(words)

    lines = lettering.wrapped(text, 16, 120, most)

    whole = lettering.wrapped(text, 16, 120)
    assert len(lines) <= most
    if len(whole) <= most:
        assert lines == whole
        return
    head, tail = " ".join(lines).split("…")
    assert text.startswith(head.strip())
    assert text.endswith(tail.strip())
    assert len(head) + len(tail) > 5 * (most - 1)  # no line is left empty
    assert all(lettering.text_width(line, 16) <= 120 for line in lines)


def test_no_sign_turns_the_order_of_what_follows():
    """A name may hold one; the index after it must not be read backwards."""
    image = plain(100, 300)

    turned = strip([image], ["sail\u202eboat\u2066 (12) \u200f0.5"])

    assert (turned == strip([image], ["sailboat (12) 0.5"])).all()
