"""What a page says of all images of a run together, put together image by image.

So a run of any size can be read once, line by line. What is kept grows with the classes and with
the pairs of true and predicted class that have a heatmap, and by nine bytes with each image.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from cnnviz.errors import MapError, UsageError
from cnnviz.metrics.location import MEAN_IMAGES
from cnnviz.report.finding import Confidence, Pick, WorthALook, finding
from cnnviz.report.page import engines, meanings, page_data, pair_views, telling_pairs
from cnnviz.report.pairs import PairLocations, confusion_matrix
from cnnviz.report.quality import Predictions
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.manifest import MANIFEST
from cnnviz.runs.records import SummaryRecord
from cnnviz.runs.run_records import RunRecord
from cnnviz.runs.summary import Accuracy
from cnnviz.text import ClassNames

#: Pairs that are shown before one asks for more.
_PAIRS_FIRST = 8


class Overview:
    """All images of a run, as far as they have been added.

    Attributes:
        images: how many these are.
    """

    def __init__(self, run: RunRecord) -> None:
        """Of a run without images."""
        self.images = 0
        self._worth = WorthALook()
        self._run = run
        self._accuracy = Accuracy()
        self._locations = PairLocations()
        self._predictions = Predictions()
        self._confidence = Confidence()
        self._engines: Counter[str] = Counter()
        self._maps: set[str] = set()
        self._contrasts = False
        self._names: dict[int, str] = dict(enumerate(run.network.labels))
        self._kind = "class"
        self._classes: set[int] = set()

    def add(self, image: ImageRecord) -> None:
        """Take the next image of the run.

        Raises:
            UsageError: its heatmap cannot be of the same run.
        """
        try:
            self._locations.add_image(image)
        except MapError as error:
            raise UsageError(
                f"The {MANIFEST} is damaged: {error} Run `cnnviz explain` again."
            ) from error
        self._worth.add_image(self.images, image)
        self._accuracy.add_image(image)
        self._predictions.add_image(image)
        self._confidence.add_image(image)
        self.images += 1
        if image.engine is not None:
            self._engines[str(image.engine)] += 1
        self._contrasts = self._contrasts or bool(image.contrasts)
        for one in image.explanations:
            self._maps.update(one.files)
        for score in image.scores:
            self._classes.add(score.index)
            if score.name is not None:
                self._names[score.index] = score.name
            self._kind = score.kind

    @property
    def picks(self) -> list[Pick]:
        """The images most worth a look."""
        return self._worth.picks()

    def shown(self, summary: SummaryRecord) -> tuple[dict[str, Any], dict[str, Any]]:
        """What only a page with images shows, and what its program works on, but the images."""
        names = ClassNames(self._names, kind=self._kind)
        pairs = telling_pairs(self._locations.means())
        confusion = confusion_matrix(self._accuracy)
        views = pair_views(pairs, self._locations.images, names)
        picks = self.picks
        shown = {
            "summary": summary,
            "images": self.images,
            "finding": finding(summary, self._confidence, confusion, views, names),
            "picks": picks,
            "confusion": confusion,
            "quality": self._predictions.quality(self._run.network.classes),
            "names": names,
            "engines": engines(self._run, self._engines),
            "meanings": meanings(self._run, contrasts=self._contrasts),
            "pairs": views,
            "mean_images": MEAN_IMAGES,
            "pairs_first": max(_PAIRS_FIRST, sum(bool(view.sentence) for view in views)),
        }
        data = page_data(self._run, self._maps, self._classes, pairs, names)
        return shown, {**data, "worth": [asdict(one) for one in picks]}
