"""Names as they are compared and as classes are called, files as they are decoded, home folders."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnviz.labels.classes import imagenet_labels
from cnnviz.text import (
    ClassNames,
    caseless,
    class_name,
    counted,
    decode,
    did_you_mean,
    expand_home,
    folded,
    format_number,
    format_probability,
    is_line,
    is_url,
    joined,
    listed,
    matching,
    paragraph,
    printable,
    printable_path,
    shortened,
    similar,
)


@given(st.text())
def test_forms_and_case_do_not_count(text):
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert caseless(unicodedata.normalize(form, text)) == caseless(text)
    assert caseless(caseless(text)) == caseless(text)
    assert folded(folded(text)) == folded(text)
    assert folded(f"  {text}\t") == folded(text)


@given(st.text(st.characters(categories=["L"])))
def test_upper_and_lower_case_are_one(text):
    """But for a few letters whose capitals Unicode has made up of others."""
    if caseless(text.upper().lower()) == caseless(text.lower()):
        assert caseless(text.upper()) == caseless(text)


def test_a_minus_in_front_stays():
    assert folded("-1") == "-1"
    assert folded("a_-_b - c") == "a b c"
    assert folded("a ,b,  c") == "a, b, c"


def test_the_very_name_wins():
    assert matching("Cat", ["cat", "Cat"]) == ["Cat"]
    assert matching("CAT", ["cat", "Cat", "dog"]) == ["cat", "Cat"]
    assert matching("bird", ["cat"]) == []
    assert similar("EGYPTIAN_CTA", ["Egyptian cat", "dog"]) == ["Egyptian cat"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_decoding(encoding):
    assert decode("größe\n".encode(encoding)) == "größe\n"


@pytest.mark.parametrize("order", ["le", "be"])
def test_both_orders_of_bytes(order):
    assert decode("\ufeffné".encode(f"utf-16-{order}")) == "né"


def test_home_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    assert expand_home("~/x") == "/home/ann/x"
    assert expand_home("~") == "/home/ann"
    assert expand_home("~root/x") == os.path.expanduser("~root") + "/x"
    for path in ("~nobody-of-this-name/x", "./~/x", "a~", "x/~", ""):
        assert expand_home(path) == path
    (tmp_path / "~").mkdir()
    assert expand_home("~/x") == str(tmp_path / "~/x")
    assert expand_home("~/x", tmp_path.parent) == "/home/ann/x"


def test_addresses():
    assert is_url("https://x.org/cat.jpg")
    assert is_url("s3://bucket/cat.jpg")
    assert not any(map(is_url, ("cat.jpg", "/a//b", "C:\\a", "a:b", "://x")))


def test_a_class_with_its_index():
    assert class_name(281, "tabby, tabby cat") == "tabby, tabby cat (281)"
    assert class_name(281, None) == "class 281"
    assert class_name(0, None, kind="output") == "output 0"
    assert class_name(3, "") == " (3)"


def test_names_that_several_classes_have_get_their_index():
    """Of ImageNet's names one is there twice, and of first synonyms three, one in two spellings."""
    labels = imagenet_labels()
    names = ClassNames(labels)
    whole = {index for index in range(1000) if names[index] != labels[index]}
    assert {index: names[index] for index in whole} == {134: "crane (134)", 517: "crane (517)"}
    assert names[639] == "maillot, tank suit"
    short = [names.short(index) for index in range(1000)]
    assert {index: name for index, name in enumerate(short) if name.endswith(")")} == {
        **{134: "crane (134)", 517: "crane (517)", 638: "maillot (638)", 639: "maillot (639)"},
        **{264: "Cardigan (264)", 474: "cardigan (474)"},
    }
    assert short[281] == "tabby"
    assert len(set(short)) == 1000


def test_names_that_look_alike_are_not_unique():
    names = ClassNames(["\xe9t\xe9", "e\u0301te\u0301", "Cat", "cat", "dog"])
    assert [names[index] for index in range(5)] == [
        *("\xe9t\xe9 (0)", "e\u0301te\u0301 (1)", "Cat (2)", "cat (3)", "dog"),
    ]


def test_classes_without_names_have_their_index():
    assert (ClassNames()[7], ClassNames().short(7)) == ("class 7", "class 7")
    assert ClassNames({1: "a"}, kind="output")[7] == "output 7"


@pytest.mark.parametrize("shown", [printable, printable_path])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Überfahrt 猫.jpg", "Überfahrt 猫.jpg"),
        ("two\nlines\t.jpg", r"two\nlines\t.jpg"),
        ("\x1b[31m.jpg", r"\x1b[31m.jpg"),
        ("soft\N{SOFT HYPHEN}hyphen", r"soft\xadhyphen"),
        (os.fsdecode(b"\xff\xfe"), r"\xff\xfe"),
    ],
)
def test_printable_texts_and_paths(shown, text, expected):
    assert shown(text) == expected


@given(st.text(st.characters(categories=["L", "Cc", "Cf", "Cs", "Zs"])))
def test_any_text_becomes_printable(text):
    """Also half a character, which JSON can hold and no encoding has."""
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (1.0, "1.00"),
        (0.9996, "1.00"),
        (0.614, "0.61"),
        (0.01, "0.01"),
        (0.0096, "0.010"),
        (0.0042, "0.004"),
        (0.0009, "<0.001"),
        (1e-30, "<0.001"),
        (0.0, "0.00"),
    ],
)
def test_probabilities_in_titles(probability, text):
    assert format_probability(probability) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(38.2, "38.2"), (-0.0042, "-0.0042"), (0.25, "0.25"), (1234567, "1.235e+06")],
)
def test_numbers_of_any_size(value, text):
    assert format_number(value) == text


def test_words_of_messages_by_hand():
    names = ["gradcam", "xgradcam", "occlusion"]
    assert did_you_mean("grad-cam", names) == "Did you mean gradcam or xgradcam?"
    assert did_you_mean("grad-cam", names, count=1, form="`{}`") == "Did you mean `gradcam`?"
    assert did_you_mean("saliency", names) == ""
    assert [joined("a"), joined("ab"), joined("abc", "and")] == ["a", "a or b", "a, b and c"]
    assert [listed("abc"), listed("abcd"), listed([])] == ["a, b, c", "a, b, c, ...", ""]
    assert [counted(n, "image") for n in range(3)] == ["0 images", "1 image", "2 images"]
    assert paragraph("One.", "", "Two.") == "One. Two."


@given(st.text(st.characters(exclude_characters="…")), st.integers(1, 20))
def test_a_shortened_text_keeps_its_ends(text, longest):
    short = shortened(text, longest)
    assert len(short) == min(len(text), longest)
    head, _, tail = short.partition("…") if short != text else (text, "", "")
    assert text.startswith(head)
    assert text.endswith(tail)


def test_what_can_be_shown_in_a_line():
    assert is_line("naïve 猫", 10)
    assert not is_line("two\nlines", 10)
    assert not is_line("x" * 11, 10)
    assert not is_line("\x9b31m", 10)  # begins a control sequence of its own
