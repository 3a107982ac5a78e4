"""Which image is which, and which class is which."""

from __future__ import annotations

import pytest

from cnnviz.comparison.classes import match_classes
from cnnviz.comparison.images import match_images
from cnnviz.errors import UsageError
from tests.report.runs import failed, image, manifest, typed


def run(*images, **network):
    return typed(manifest(list(images), **network))


def of(relative, content="a", **changes):
    """An image that went well, with a SHA-256 of its own."""
    return {**image(relative), "sha256": content * 64, **changes}


def matched(a, b):
    """The pairs by their paths, and why the others have none."""
    found = match_images(run(*a).images, run(*b).images)
    pairs = [(one.relative, other.relative) for one, other in found.pairs]
    return pairs, [(one.path.removeprefix("photos/"), one.why) for one in found.unpaired]


def test_the_same_images_in_another_order():
    a = [of("1.png", "a"), of("2.png", "b"), of("sub/1.png", "c")]
    assert matched(a, [a[2], a[0], a[1]]) == (
        [("1.png", "1.png"), ("2.png", "2.png"), ("sub/1.png", "sub/1.png")],
        [],
    )


def test_what_only_one_run_has():
    a, b = [of("1.png", "a"), of("2.png", "b")], [of("2.png", "b"), of("3.png", "c")]
    assert matched(a, b) == ([("2.png", "2.png")], [("1.png", "only_a"), ("3.png", "only_b")])


def test_other_content():
    assert matched([of("1.png", "a")], [of("1.png", "b")]) == ([], [("1.png", "content")])


def test_a_moved_image_is_found_by_its_content():
    a, b = [of("old/1.png", "a"), of("2.png", "b")], [of("2.png", "b"), of("new/7.png", "a")]
    assert matched(a, b) == ([("old/1.png", "new/7.png"), ("2.png", "2.png")], [])


def test_copies_are_matched_by_their_paths_only():
    """Which of two equal files became which nobody knows."""
    a = [of("1.png", "a"), of("2.png", "a")]
    b = [of("2.png", "a"), of("3.png", "a"), of("4.png", "a")]
    pairs, unpaired = matched(a, b)
    assert pairs == [("2.png", "2.png")]
    assert unpaired == [("1.png", "only_a"), ("3.png", "only_b"), ("4.png", "only_b")]


def test_a_folder_that_was_given_by_another_name():
    """Photos on another disk have another path, and the same one below what was given."""
    a, b = of("1.png"), of("1.png", path="/mnt/photos/1.png")
    assert matched([a], [b]) == ([("1.png", "1.png")], [])


def test_equal_names_in_two_folders():
    """Both are called 1.png below their folder; the whole path tells which is which."""
    a = [of("1.png", "a", path="x/1.png", stem="1"), of("1.png", "a", path="y/1.png", stem="1-2")]
    found = match_images(run(*a).images, run(*reversed(a)).images)
    assert [(one.path, other.path) for one, other in found.pairs] == [
        ("x/1.png", "x/1.png"),
        ("y/1.png", "y/1.png"),
    ]


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        (failed("1.png"), of("1.png"), "failed_a"),
        (of("1.png"), failed("1.png"), "failed_b"),
        (failed("1.png"), failed("1.png"), "failed_both"),
        ({**failed("1.png"), "sha256": "a" * 64}, of("1.png"), "failed_a"),
    ],
)
def test_failures(a, b, why):
    assert matched([a], [b]) == ([], [("1.png", why)])


def classes(labels_a, labels_b, **counts):
    a = run(of("1.png"), labels=labels_a, classes=counts.get("a", len(labels_a)))
    b = run(of("1.png"), labels=labels_b, classes=counts.get("b", len(labels_b)))
    return match_classes(a, b)


def test_classes_in_another_order():
    found = classes(["cat", "dog", "fish"], ["fish", "Cat", "bird"])
    assert found.of_a == (0, 1, 2)
    assert found.of_b == (2, 0, 3)
    assert [found.names[number] for number in found.only_a] == ["dog"]
    assert [found.names[number] for number in found.only_b] == ["bird"]
    assert found.shared == 2


def test_a_first_synonym_is_enough_if_it_is_unique():
    found = classes(["tench, Tinca tinca", "crane, bird", "crane, lifter"], ["crane", "tench"])
    assert found.of_b == (3, 0)  # which crane is meant nobody knows


def test_equal_names_are_matched_in_their_order():
    assert classes(["crane", "x", "crane"], ["crane", "crane"]).of_b == (0, 2)


def test_a_whole_name_goes_before_a_synonym():
    found = classes(["crane, bird", "crane"], ["crane", "crane, bird"])
    assert found.of_b == (1, 0)


def test_without_names_the_indices_count():
    found = classes([], [], a=4, b=4)
    assert found.of_b == (0, 1, 2, 3)
    assert not found.note
    found = classes(["cat", "dog"], [], b=2)
    assert found.note == "B has no class names: classes match by index."
    assert found.names[1] == "dog"


def test_without_names_the_numbers_of_classes_must_be_equal():
    with pytest.raises(UsageError, match=r"B has no class names, and A has 2 of them and B 3\."):
        classes(["cat", "dog"], [], b=3)
