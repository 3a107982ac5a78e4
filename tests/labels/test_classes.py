"""Names of classes, and what users call them."""

from __future__ import annotations

import unicodedata

import pytest

from cnnviz.errors import UsageError
from cnnviz.labels.classes import Classes, imagenet_labels
from cnnviz.labels.targets import ClassPair, Target, resolve_contrasts, resolve_targets

PETS = ("tabby, tabby cat", "Egyptian cat", "crane", "Border collie", "collie", "crane")


def find(spec, labels, count):
    return Classes(labels, count).find(spec)


def test_imagenet_has_its_thousand_classes_in_order():
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert all(labels)
    # As in the ILSVRC 2012 task's own list.
    assert labels[0] == "tench, Tinca tinca"
    assert labels[281] == "tabby, tabby cat"
    assert labels[999].startswith("toilet tissue")
    assert [i for i, label in enumerate(labels) if label == "crane"] == [134, 517]


@pytest.mark.parametrize(
    ("spec", "index"),
    [
        ("0", 0),
        ("5", 5),
        (" 5 ", 5),
        ("tabby, tabby cat", 0),
        ("TABBY", 0),
        ("tabby cat", 0),
        ("egyptian  cat", 1),
        ("collie", 4),  # the whole name, though a part of another's
        ("border", 3),
        ("gyp", 1),
    ],
)
def test_resolves(spec, index):
    assert find(spec, PETS, len(PETS)) == index


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("6", "no class 6: the network's classes are 0 to 5"),
        ("-1", "no class -1"),
        ("", "empty"),
        ("crane", r"fits 2 classes: crane \(2\), crane \(5\)"),
        ("cat", r"fits 2 classes: tabby, tabby cat \(0\), Egyptian cat \(1\)"),
        ("colly", r"Similar: collie \(4\)"),
        ("zebra", "The classes are tabby, tabby cat, Egyptian cat"),
    ],
)
def test_refuses(spec, told):
    with pytest.raises(UsageError, match=told):
        find(spec, PETS, len(PETS))


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (unicodedata.normalize("NFD", "café"), "café"),
        ("CAFÉ", unicodedata.normalize("NFD", "café")),
        ("GRÖSSE", "größe"),
        ("strasse", "STRAẞE"),
        ("ｃａｔ", "Cat"),
        ("IŞIK", "ışık"),
        ("istanbul", "İstanbul"),
        ("ΟΔΟΣ", "οδος"),
        ("가", "\u1100\u1161"),
        ("golden_retriever", "golden retriever"),
        ("Golden-Retriever", "golden_retriever"),
        ("black footed ferret", "black‑footed ferret"),
        ("jack-o'-lantern", "jack o’ lantern"),
        ("tabby,tabby cat", "tabby, tabby cat"),
        ("col\u00adlie", "collie"),
    ],
)
def test_names_that_are_written_otherwise(spec, label):
    labels = ("x, y", label, "z")
    assert find(spec, labels, 3) == 1
    assert resolve_targets([spec], labels, 3) == (Target(1),)
    assert resolve_contrasts([f"{spec}:z"], labels, 3) == (ClassPair(Target(1), Target(2)),)


def test_the_very_name_comes_before_its_likes():
    labels = ("Crane", "crane", "polish", "Polish, x")
    assert [find(spec, labels, 4) for spec in ("Crane", "crane")] == [0, 1]
    with pytest.raises(UsageError, match=r"'CRANE' fits 2 classes: Crane \(0\), crane \(1\)"):
        find("CRANE", labels, 4)
    # Whole names come before synonyms, as ever.
    assert find("Polish", labels, 4) == 2


def test_wordnet_s_numbers_are_names():
    assert find("n02123045", imagenet_labels(), 1000) == 281
    assert len(set(imagenet_labels().ids)) == 1000
    # Class order is the order of these numbers.
    assert list(imagenet_labels().ids) == sorted(imagenet_labels().ids)


def test_a_name_needs_names():
    assert find("3", (), 10) == 3
    with pytest.raises(UsageError, match="0 to 9, or class names with --labels"):
        find("cat", (), 10)


def test_many_candidates_are_cut_short():
    with pytest.raises(UsageError, match=r"fits 30 classes: (\w+ \(\d+\), ){5}\.\.\.\."):
        find("a", ["cat"] * 30, 30)


def test_imagenet_by_name():
    assert find("tabby", imagenet_labels(), 1000) == 281
    assert find("hummingbird", imagenet_labels(), 1000) == 94


def test_many_classes_are_not_listed():
    with pytest.raises(UsageError, match=r"called 'dog'\. Give a class index, a class name"):
        find("dog", [f"number {index}" for index in range(13)], 13)
