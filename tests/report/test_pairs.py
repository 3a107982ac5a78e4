"""What was taken for what, and mean maps, against hand arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.report import pairs as report_pairs
from cnnviz.runs.summary import Accuracy
from tests.report.runs import failed, image, located, manifest, typed


def confusion(images):
    return report_pairs.confusion_matrix(Accuracy.of(typed(manifest(images)).images))


def mean_locations(images):
    locations = report_pairs.PairLocations()
    for one in typed(manifest(images)).images:
        locations.add_image(one)
    return locations.means()


def test_counts_by_hand():
    """Rows are true classes, columns predicted ones; without a truth, or failed, none counts."""
    images = [
        *(image(f"a{n}.jpg", 0, truth=0) for n in range(3)),
        image("b.jpg", 1, truth=0),
        image("c.jpg", 1, truth=0),
        image("d.jpg", 0, truth=4),
        image("e.jpg", 2),
        failed("f.jpg"),
    ]
    found = confusion(images)
    assert found.classes == (0, 1, 4)
    assert found.counts == ((3, 2, 0), (0, 0, 0), (1, 0, 0))
    assert found.whole
    assert found.errors == ((0, 1, 2), (4, 0, 1))
    assert found.images_of == {0: 5, 4: 1}


@pytest.mark.parametrize("images", [[], [failed("a.jpg")], [image("a.jpg", 1)]])
def test_no_truth_no_confusion(images):
    assert confusion(images) is None


def test_of_many_classes_the_most_confused_are_in_the_matrix():
    """Thirty classes; 7 is taken for 8 three times, and 20 to 29 for 19 once each."""
    names = [str(index) for index in range(30)]
    pairs = [(index, index) for index in range(30)]
    pairs += 3 * [(7, 8)] + [(index, 19) for index in range(20, 30)]
    found = confusion([image("x.jpg", p, truth=t, names=names) for t, p in pairs])
    assert not found.whole
    # 19 has ten errors, 7 and 8 three each, then one each: the first nine of 20 to 29.
    assert found.classes == (7, 8, *range(19, 29))
    assert found.counts[0][:2] == (1, 3)
    assert found.counts[3][2] == 1
    assert found.errors[0] == (7, 8, 3)
    assert len(found.errors) == 11


@pytest.mark.subprocess
def test_mean_maps_by_hand():
    images = [
        image("a.jpg", 1, truth=0, location=located(0.5, (0.1, 0, 0, 0), [[255, 0]])),
        image("b.jpg", 1, truth=0, location=located(0.7, (0.3, 0.02, 0, 0), [[51, 255]])),
        image("c.jpg", 1, truth=0, blank=True),
        failed("d.jpg"),
    ]
    (pair,) = mean_locations(images)
    assert pair.pair == (0, 1)
    assert pair.images == 2
    assert pair.border == pytest.approx(0.6)
    assert pair.corners == pytest.approx((0.2, 0.01, 0, 0))
    np.testing.assert_allclose(pair.mean, [[(1 + 0.2) / 2, 0.5]], rtol=1e-6)
    # With one even image more: (0.5 + 0.7 + 0.36) / 3 and (0.1 + 0.3 + 0.04) / 3.
    assert pair.score == pytest.approx(max((0.52 - 0.36) / 0.64, (0.44 / 3 - 0.04) / 0.96))
    assert not pair.suspicious


def test_an_even_map_has_no_score():
    (pair,) = mean_locations([image("a.jpg", 1, truth=1)])
    assert pair.score == pytest.approx(0, abs=1e-12)


def test_suspicious_pairs_come_first_then_wrong_ones():
    corner = located(0.5, (0, 0, 0, 0.9))
    border = located(0.95, (0.1,) * 4)
    center = located(0.1, (0.0,) * 4)
    images = [
        *(image(f"{n}.jpg", 0, truth=0, location=center) for n in range(9)),
        *(image(f"{n}.jpg", 1, truth=1, location=border) for n in range(9)),
        *(image(f"{n}.jpg", 2, truth=2, location=corner) for n in range(3)),
        *(image(f"{n}.jpg", 2, truth=3, location=corner) for n in range(2)),  # too few
        image("w.jpg", 0, truth=4, location=center),
    ]
    found = mean_locations(images)
    assert [one.pair for one in found] == [(1, 1), (2, 2), (3, 2), (4, 0), (0, 0)]
    assert [one.suspicious for one in found] == [True, True, False, False, False]


def test_the_map_of_the_answer_counts():
    """Explained first is the true class; what drives the answer is in the other explanation."""
    record = image("a.jpg", 1, truth=0, location=located(0.9))
    other = {
        **record["explanations"][0],
        "target": record["ground_truth"],
        "location": located(0.1),
        "measurements": {},
    }
    record["explanations"].insert(0, other)
    (pair,) = mean_locations([record])
    assert pair.border == pytest.approx(0.9)
    record["explanations"].pop()
    assert mean_locations([record]) == []


def test_pairs_without_truth():
    (pair,) = mean_locations([image("a.jpg", 1), image("b.jpg", 1)])
    assert pair.pair == (None, 1)
    assert pair.images == 2
