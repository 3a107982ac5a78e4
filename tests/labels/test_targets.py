"""Class names and what users call classes."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from cnnviz.errors import UsageError
from cnnviz.labels.label_files import read_labels
from cnnviz.labels.targets import (
    ClassPair,
    Target,
    imagenet_labels,
    resolve_class,
    resolve_contrasts,
    resolve_targets,
)

PETS = ("tabby, tabby cat", "Egyptian cat", "crane", "Border collie", "collie", "crane")


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
    assert resolve_class(spec, PETS, len(PETS)) == index


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
        resolve_class(spec, PETS, len(PETS))


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
    assert resolve_class(spec, labels, 3) == 1
    assert resolve_targets([spec], labels, 3) == (Target(1),)
    assert resolve_contrasts([f"{spec}:z"], labels, 3) == (ClassPair(Target(1), Target(2)),)


def test_the_very_name_comes_before_its_likes():
    labels = ("Crane", "crane", "polish", "Polish, x")
    assert [resolve_class(spec, labels, 4) for spec in ("Crane", "crane")] == [0, 1]
    with pytest.raises(UsageError, match=r"'CRANE' fits 2 classes: Crane \(0\), crane \(1\)"):
        resolve_class("CRANE", labels, 4)
    # Whole names come before synonyms, as ever.
    assert resolve_class("Polish", labels, 4) == 2


def test_wordnet_s_numbers_are_names():
    assert resolve_class("n02123045", imagenet_labels(), 1000) == 281
    assert len(set(imagenet_labels().ids)) == 1000
    # Class order is the order of these numbers.
    assert list(imagenet_labels().ids) == sorted(imagenet_labels().ids)


def test_a_name_needs_names():
    assert resolve_class("3", (), 10) == 3
    with pytest.raises(UsageError, match="0 to 9, or the names with --labels"):
        resolve_class("cat", (), 10)


def test_many_candidates_are_cut_short():
    with pytest.raises(UsageError, match=r"fits 30 classes: (\w+ \(\d+\), ){5}\.\.\.\."):
        resolve_class("a", ["cat"] * 30, 30)


def test_imagenet_by_name():
    assert resolve_class("tabby", imagenet_labels(), 1000) == 281
    assert resolve_class("hummingbird", imagenet_labels(), 1000) == 94


def test_reads_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffKatze\r\nHund \r\ncrane\r\ncrane\r\n\r\n\r\n".encode())
    assert read_labels(path) == ("Katze", "Hund", "crane", "crane")
    assert len(read_labels(path, classes=4)) == 4


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"cat\n\ndog\n", "has a blank line 2"),
        (b"\xff\xfe\x00caf\xe9", "not a UTF-8 text file"),
        (b"cat\ndog\n", "names 2 classes, but the network has 3 outputs"),
    ],
)
def test_refuses_a_file(tmp_path, content, told):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told):
        read_labels(path, classes=3)


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_labels(tmp_path / "none.txt")


def test_signs_that_work_on_a_terminal_are_shown_instead(tmp_path):
    (tmp_path / "names.txt").write_text("cat\x1b[31m\nsnow leopard\ncaf\u00e9\n")
    assert read_labels(tmp_path / "names.txt") == ("cat\\x1b[31m", "snow leopard", "caf\u00e9")


def test_a_file_without_end_is_refused():
    with pytest.raises(UsageError, match="more than 16,777,216 bytes"):
        read_labels("/dev/zero")


def test_many_classes_are_not_listed():
    with pytest.raises(UsageError, match=r"called 'dog'\. Give a class index, a class name"):
        resolve_class("dog", [f"number {index}" for index in range(13)], 13)


def test_targets():
    assert resolve_targets(["top1"], PETS, 6) == (Target(rank=0),)
    assert resolve_targets(["top3", "TOP2"], PETS, 6) == (*(Target(rank=r) for r in range(3)),)
    assert resolve_targets(["5", "tabby, tabby cat", "5"], PETS, 6) == (Target(5), Target(0))
    assert resolve_targets(["1, 3,1"], PETS, 6) == (Target(1), Target(3))
    assert resolve_targets(["Top-2"], PETS, 6) == (Target(rank=0), Target(rank=1))
    assert resolve_targets(["collie,1"], PETS, 6) == (Target(4), Target(1))
    assert resolve_targets(["truth, top2,egyptian cat"], PETS, 6) == (
        *(Target(truth=True), Target(rank=0), Target(rank=1), Target(1)),
    )
    # A class with commas in its name comes first.
    assert resolve_targets(["b,a", "a,b", "a,c"], ("a,b", "b", "a", "c"), 4) == (
        *(Target(1), Target(2), Target(0), Target(3)),
    )
    assert resolve_targets(["tabby, tabby"], PETS, 6) == (Target(0),)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("top0", "asks for 0 classes"),
        ("top7", "asks for 7 classes: the network has 6"),
        ("collie,spaniel", "No class is called 'spaniel'"),
        ("collie,", "An empty target was given in 'collie,'"),
        ("collie,9", "There is no class 9"),
    ],
)
def test_refuses_targets(spec, told):
    with pytest.raises(UsageError, match=told):
        resolve_targets([spec], PETS, 6)


def test_places_of_classes_by_words():
    assert resolve_targets(["predicted", "Second", "truth", "top1"], PETS, 6) == (
        Target(),
        Target(rank=1),
        Target(truth=True),
    )
    with pytest.raises(UsageError, match="There is no second class: the network has 1"):
        resolve_targets(["second"], ["only"], 1)


def test_the_truth_is_each_images_own_and_the_answer_where_it_is_not_known():
    logits = np.array([[1, 5, 3], [9, 0, 2], [0, 1, 2]], np.float32)
    assert list(Target(truth=True)(logits, [2, None, 0])) == [2, 0, 0]
    assert list(Target(1)(logits, [2, None, 0])) == [1, 1, 1]


def test_contrasts():
    assert resolve_contrasts(["predicted:truth", "5 : 0", "predicted:truth"], PETS, 6) == (
        ClassPair(Target(), Target(truth=True)),
        ClassPair(Target(5), Target(0)),
    )


def test_a_contrast_of_names_with_colons():
    labels = ("1:2", "ratio: 3", "cat")
    expected = (ClassPair(Target(0), Target(1)), ClassPair(Target(2), Target(0)))
    assert resolve_contrasts(["1:2:ratio: 3", "cat:1:2"], labels, 3) == expected


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("5", "A contrast is two classes, A:B, predicted:truth say; got '5'"),
        ("1:2:3", "got '1:2:3'"),
        ("1:1", "names one class twice"),
        ("1:9", "There is no class 9"),
        (":1", "An empty target"),
    ],
)
def test_refuses_contrasts(spec, told):
    with pytest.raises(UsageError, match=told):
        resolve_contrasts([spec], PETS, 6)


def test_ranks_are_each_images_own():
    logits = np.array([[1, 5, 3, 5], [9, 0, 2, 1]], np.float32)
    ranks = [list(Target(rank=rank)(logits)) for rank in range(4)]
    # Among equals the lower index comes first.
    assert ranks == [[1, 0], [3, 2], [2, 3], [0, 1]]
    assert list(Target(2)(logits)) == [2, 2]
