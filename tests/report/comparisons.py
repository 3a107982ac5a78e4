"""Two runs that never were, compared: for tests of the page of a comparison.

By hand, a large one to look at: ``python -m tests.report.comparisons DIR 2000``.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np

from cnnviz.comparison.compare import compare, read_sides
from cnnviz.report.comparison import build_comparison_page
from tests.report import runs
from tests.report.runs import image, large, located, manifest, write_run


def compared(folder, a, b, *, files=True):
    """The comparison of two manifests, whose runs lie in ``before`` and ``after``."""
    names = {"before": a, "after": b}
    sides = [write_run(Path(folder) / name, one, files=files) for name, one in names.items()]
    return compare(*read_sides(*sides))


def built(folder, a, b, *, files=True, **options):
    """The page of a comparison of two manifests, in ``changes``."""
    comparison = compared(folder, a, b, files=files)
    return build_comparison_page(Path(folder) / "changes", comparison, **options)


def spot(row, column, *, side=4, width=1):
    """A heatmap (side, side) that is 255 in a square of ``width`` cells and 20 elsewhere."""
    cells = np.full((side, side), 20, np.uint8)
    cells[row : row + width, column : column + width] = 255
    return located(cells=cells)


def two_runs():
    """Manifests of A and B: a fixed, a broken, both wrong, both right, unknown, without a map."""
    before = manifest(
        [
            image("volcano/fixed.jpg", 1, 0.6, truth=0, location=spot(0, 0)),
            image("volcano/broken.jpg", 0, 0.9, truth=0, location=spot(1, 1)),
            image("web/wrong.jpg", 0, 0.7, truth=1, location=spot(2, 2)),
            image("web/right.jpg", 1, 0.8, truth=1, location=spot(1, 2)),
            image("unknown.jpg", 2, 0.5, location=spot(3, 3)),
            image("web/blank.jpg", 1, 0.95, truth=1, location=spot(0, 3)),
        ]
    )
    after = manifest(
        [
            image("volcano/fixed.jpg", 0, 0.7, truth=0, location=spot(2, 2, width=2)),
            image("volcano/broken.jpg", 1, 0.8, truth=0, location=spot(1, 1)),
            image("web/wrong.jpg", 2, 0.9, truth=1, location=spot(2, 2)),
            image("web/right.jpg", 1, 0.9, truth=1, location=spot(1, 2)),
            image("unknown.jpg", 0, 0.6, location=spot(3, 3)),
            image("web/blank.jpg", 1, 0.96, truth=1, blank=True),
        ],
        name="vgg19",
    )
    return before, after


def large_runs(count, seed=0):
    """Manifests of many images; B is wrong elsewhere, and its maps are moved in some."""
    before = large(count, seed)
    after = copy.deepcopy(before)
    after["run"]["network"]["name"] = "vgg19"
    random = np.random.default_rng(seed + 1)
    other = large(count, seed + 2)
    for place, (one, another) in enumerate(zip(before["images"], other["images"], strict=True)):
        if one["status"] != "ok" or another["status"] != "ok" or random.random() < 0.6:
            continue
        again = image(
            one["relative"],
            one["ground_truth"]["index"] if random.random() < 0.7 else int(random.integers(5)),
            round(float(random.uniform(0.4, 0.999)), 4),
            one["ground_truth"]["index"],
            location=another["explanations"][0]["location"],
        )
        after["images"][place] = again
    return before, after


if __name__ == "__main__":
    target, count = Path(sys.argv[1]), int(sys.argv[2])
    small = runs._pixels
    runs._pixels = lambda number, key: small(number, key, 300, 400)
    print(built(target, *large_runs(count)))
