"""A comparison of two runs that never were, against numbers worked out on paper.

The two networks know four classes in common, by names in another order; each knows one alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnviz.comparison.compare import compare
from cnnviz.comparison.comparison import Side
from cnnviz.comparison.records import (
    ClassChangeRecord,
    ConfusionChangeRecord,
    UnpairedRecord,
)
from tests.report.runs import NAMES, failed, image, located, manifest, typed

VOLCANO, WEB, TABBY, LIGHTHOUSE, CRANE = NAMES
OWL = "owl"
LABELS_A = NAMES
LABELS_B = ("Lighthouse", "volcano", "tabby", "Spider-Web", OWL)
#: Of each image the true class, A's prediction and B's, by numbers among all classes.
CLASSES = (VOLCANO, WEB, TABBY, LIGHTHOUSE, CRANE, OWL)
NUMBERS_B = (3, 0, 2, 1, 5)
IMAGES = (
    (VOLCANO, VOLCANO, VOLCANO),  # both right
    (VOLCANO, WEB, VOLCANO),  # fixed
    (VOLCANO, WEB, WEB),  # both wrong
    (WEB, WEB, TABBY),  # broken
    (WEB, WEB, WEB),  # both right
    (TABBY, VOLCANO, TABBY),  # fixed
    (TABBY, CRANE, OWL),  # both wrong
    (LIGHTHOUSE, VOLCANO, LIGHTHOUSE),  # fixed
    (LIGHTHOUSE, LIGHTHOUSE, LIGHTHOUSE),  # both right
    (TABBY, LIGHTHOUSE, TABBY),  # fixed
)
FIXED = (1, 5, 7, 9)


def of_a(number, truth, predicted, **changes):
    one = image(f"{number}.png", LABELS_A.index(predicted), 0.5, LABELS_A.index(truth))
    return {**one, "sha256": f"{number:064x}", **changes}


def of_b(number, truth, predicted, border=0.36, corner=0.04, **changes):
    truth, predicted = (NUMBERS_B.index(CLASSES.index(name)) for name in (truth, predicted))
    location = located(border, (0.04, 0.04, 0.04, corner))
    one = image(f"{number}.png", predicted, 0.75, truth, names=LABELS_B, location=location)
    return {**one, "sha256": f"{number:064x}", **changes}


def compared(images_a, images_b):
    a = typed(manifest(images_a))
    b = typed(manifest(images_b, name="vgg19", labels=list(LABELS_B)))
    return compare(Side("vgg16", Path("a"), a), Side("vgg19", Path("b"), b))


@pytest.fixture(scope="module")
def found():
    return compared(
        [of_a(number, truth, a) for number, (truth, a, _b) in enumerate(IMAGES)],
        [
            of_b(number, truth, b, *((0.56, 0.64) if number in FIXED else ()))
            for number, (truth, _a, b) in enumerate(IMAGES)
        ][::-1],
    )


def test_outcomes(found):
    assert [pair.record.outcome for pair in found.pairs] == [
        *("both_right", "fixed", "both_wrong", "broken", "both_right"),
        *("fixed", "both_wrong", "fixed", "both_right", "fixed"),
    ]
    summary = found.summary
    assert summary.outcomes == {"fixed": 4, "broken": 1, "both_wrong": 2, "both_right": 3}
    assert (summary.images, summary.changed) == (10, 6)


def test_accuracies(found):
    summary = found.summary
    assert summary.accuracy_a.value == pytest.approx(4 / 10)
    assert summary.accuracy_b.value == pytest.approx(7 / 10)
    assert summary.accuracy_change.value == pytest.approx(3 / 10)
    for mean in (summary.accuracy_a, summary.accuracy_b, summary.accuracy_change):
        assert mean.images == 10
        assert mean.low < mean.value < mean.high
    # Of five images that only one has right, one at most is broken: (1 + 5) / 2^5, twice.
    assert summary.mcnemar == pytest.approx(12 / 32)


def test_losses_of_each_network(found):
    pair = found.pairs[1].record  # the true class has a quarter by A, and 0.75 by B
    assert pair.a.loss == pytest.approx(1.3863, abs=1e-4)  # ln 4
    assert pair.b.loss == pytest.approx(0.2877, abs=1e-4)  # ln 4/3
    assert pair.loss_change == pytest.approx(-1.0986, abs=1e-4)  # -ln 3


def test_classes(found):
    assert found.summary.classes == (
        ClassChangeRecord(VOLCANO, 3, 1, 2, 1, 0, 3, 2),
        ClassChangeRecord(WEB, 2, 2, 1, 0, 1, 4, 2),
        ClassChangeRecord(TABBY, 3, 0, 2, 2, 0, 0, 3),
        ClassChangeRecord(LIGHTHOUSE, 2, 1, 2, 1, 0, 2, 2),
    )
    for one in found.summary.classes:
        counts = (one.images, one.correct_a, one.correct_b, one.fixed, one.broken)
        assert {type(count) for count in counts} == {int}
    assert found.summary.only_a == (CRANE,)
    assert found.summary.only_b == (OWL,)


def test_confusions(found):
    """All wrong predictions of either, those that A makes most often first."""
    assert [
        (one.truth, one.predicted, one.count_a, one.count_b) for one in found.summary.confusions
    ] == [
        (0, 1, 2, 1),  # volcano for spider web
        (2, 0, 1, 0),
        (2, 3, 1, 0),
        (2, 4, 1, 0),
        (3, 0, 1, 0),
        (1, 2, 0, 1),
        (2, 5, 0, 1),
    ]
    assert found.summary.confusions[0] == ConfusionChangeRecord(VOLCANO, WEB, 0, 1, 2, 1)


def test_groups(found):
    groups = {group.name: group for group in found.summary.groups}
    assert list(groups) == ["all", "fixed", "broken", "both_wrong", "both_right"]
    assert [group.images for group in groups.values()] == [10, 4, 1, 2, 3]
    assert groups["fixed"].border_a == pytest.approx(0.36)
    assert groups["fixed"].border_b == pytest.approx(0.56)
    assert groups["fixed"].corners_b == pytest.approx((0.04, 0.04, 0.04, 0.64))
    assert groups["all"].border_b == pytest.approx((4 * 0.56 + 6 * 0.36) / 10)
    assert groups["all"].corners_b[3] == pytest.approx((4 * 0.64 + 6 * 0.04) / 10)
    assert groups["both_right"].corners_b == groups["both_right"].corners_a


def test_sentences(found):
    first, second, third = found.summary.findings[:3]
    assert first == (
        "B (vgg19) classifies 7 of 10 images correctly, A (vgg16) 4: 4 fixed, 1 broken, which may "
        "be chance (McNemar's test, p = 0.38)."
    )
    assert second == (
        "Gains: tabby (from 0 to 2 of 3), volcano (from 1 to 2 of 3) and lighthouse "
        "(from 1 to 2 of 2); losses: spider web (from 2 to 1 of 2)."
    )
    assert third.startswith("Both look at the same places in all 10 images")
    assert third.endswith("; B has 28% of its evidence in the bottom-right corner, A 4%.")
    assert any("crane" in note for note in found.summary.notes)
    assert any("owl" in note for note in found.summary.notes)


def test_each_image_that_is_not_compared_is_named():
    same = (VOLCANO, VOLCANO)
    found = compared(
        [
            of_a(0, *same),
            of_a(1, *same),
            of_a(3, *same),
            {**failed("4.png"), "sha256": f"{4:064x}"},
            of_a(5, *same),
            failed("6.png"),
            of_a(7, *same),
            of_a(8, *same, relative="old/8.png", path="photos/old/8.png"),
        ],
        [
            of_b(0, *same),
            of_b(2, *same),
            of_b(3, *same, sha256="f" * 64),
            of_b(4, *same),
            failed("5.png"),
            failed("6.png"),
            of_b(7, WEB, VOLCANO),
            of_b(8, *same, relative="new/8.png", path="photos/new/8.png"),
        ],
    )
    assert [pair.record.path for pair in found.pairs] == ["photos/0.png", "photos/old/8.png"]
    assert found.pairs[1].record.path_b == "photos/new/8.png"  # moved, and found by its content
    assert set(found.summary.unpaired) == {
        UnpairedRecord(f"photos/{number}.png", why)
        for number, why in (
            (1, "only_a"),
            (2, "only_b"),
            (3, "content"),
            (4, "failed_a"),
            (5, "failed_b"),
            (6, "failed_both"),
            (7, "truth"),
        )
    }
    for number in range(1, 8):
        (note,) = (note for note in found.summary.notes if f"photos/{number}.png" in note)
        assert note.startswith("Not compared: ")


def test_a_class_that_one_network_does_not_know():
    """It cannot be right about it, and that is said."""
    truth = {"truth": LABELS_A.index(CRANE)}
    a = image("1.png", LABELS_A.index(CRANE), 0.5, **truth)
    b = image("1.png", LABELS_B.index(OWL), 0.5, names=LABELS_B)
    found = compared([a], [b])
    assert found.summary.outcomes == {"broken": 1}
    assert found.summary.notes[-1] == (
        "B does not know the true class of 1 image, and so is wrong about it."
    )
    assert found.summary.findings[1] == "Losses: crane (from 1 to 0 of 1)."


def test_blank_heatmaps_are_one_sentence():
    """Which side's, in how many of the images; where all are alike that is said once."""
    images = list(enumerate(IMAGES))
    blank = {"location": None}

    def blank_in(side, number, **more):
        one = side(number, *more["classes"])
        for explanation in one["explanations"]:
            explanation.update(blank, blank=["gradcam"])
        return one

    def note(of_a_blank, of_b_blank):
        a = [
            blank_in(of_a, n, classes=(truth, one)) if n in of_a_blank else of_a(n, truth, one)
            for n, (truth, one, _) in images
        ]
        b = [
            blank_in(of_b, n, classes=(truth, one)) if n in of_b_blank else of_b(n, truth, one)
            for n, (truth, _, one) in images
        ]
        (found,) = [one for one in compared(a, b).summary.notes if "heatmaps" in one]
        return found

    assert note((), (3,)) == "The heatmaps of 1 image are not compared: B's heatmap is blank."
    assert note((0, 1), (0, 1)) == (
        "The heatmaps of 2 images are not compared: A's heatmap is blank and B's heatmap is blank."
    )
    assert note((0, 1), (1, 2, 3)) == (
        "The heatmaps of 4 images are not compared: B's heatmap is blank in 3 and A's heatmap is "
        "blank in 2."
    )
