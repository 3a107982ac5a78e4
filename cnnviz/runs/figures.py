"""The figures of a run of ``cnnviz explain``, which thresholds are about, and the verdict on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cnnviz.metrics.classification import class_counts, macro_mean
from cnnviz.metrics.location import CORNERS
from cnnviz.runs.checked import WORST, CheckedRun, Collector, WorstImage
from cnnviz.runs.image_records import ImageRecord
from cnnviz.runs.request import CheckOptions
from cnnviz.runs.summary import RunReport, ScanReport
from cnnviz.runs.thresholds import SCORES, SHARES, Figure, judge
from cnnviz.text import counted, listed

#: How many classes of an image are named.
_CLASSES = 5


def figures(report: RunReport, looked: ScanReport | None) -> tuple[Figure, ...]:
    """All figures.

    Args:
        report: of the images that were explained; their heatmaps count.
        looked: of all images that were looked at, if that are more; their predictions count.
    """
    among = report if looked is None else looked
    accuracy, several = among.accuracy, among.multi_label
    # Images have one true class or several, as the network has it: one of the two is empty.
    known = accuracy.known + several.correct + several.incorrect
    pairs = list(accuracy.counts.elements())
    means = macro_mean(class_counts([true for true, _ in pairs], [one for _, one in pairs]))
    values = {
        "accuracy": accuracy.share,
        "balanced-accuracy": None if means is None else means.recall,
        "macro-f1": None if means is None else means.f1,
        "top5": accuracy.in_top5 / accuracy.known if accuracy.known else None,
        "map": several.mean(),
    }
    reason = "no image has a true class"
    scores = [
        Figure(name, title, values[name], known, reason=reason) for name, title in SCORES.items()
    ]
    return (*scores, *_shares(report))


def _shares(report: RunReport) -> list[Figure]:
    """The highest mean shares, over all images or those predicted as one class."""
    found = []
    for name, title in SHARES.items():
        part = slice(0, 1) if name == "border" else slice(1, 5)
        groups = list(report.shares.groups())
        if not groups:
            reason = "no image has a heatmap of its predicted class that is not blank"
            found.append(Figure(name, title, None, 0, "lower", reason=reason))
            continue
        index, images, shares = max(groups, key=lambda group: group[2][part].max())
        if name == "corner":
            title = f"evidence in the {CORNERS[int(shares[part].argmax())]} corner"
        where = "" if index is None else f"predicted as {report.names[index]}"
        found.append(Figure(name, title, float(shares[part].max()), images, "lower", where))
    return found


@dataclass
class ExplanationCollector(Collector):
    """The same for ``cnnviz explain``, with the images that have the highest loss."""

    _worst: list[WorstImage] = field(default_factory=list)

    def add_image(self, image: ImageRecord) -> None:
        """One image, in order."""
        self.add(image.path, image.seconds, image.error)
        if image.loss is not None:
            self._worst.append(WorstImage(image.path, _predicted(image), _true(image), image.loss))
            if len(self._worst) > 2 * WORST:
                self._worst = self.worst

    @property
    def worst(self) -> list[WorstImage]:
        """The images with the highest loss, that one first; of equals the first."""
        return sorted(self._worst, key=lambda one: -one.loss)[:WORST]

    def conclude(
        self, checks: CheckOptions, report: RunReport, looked: ScanReport | None, title: str
    ) -> CheckedRun:
        """The verdict on a run that is over; ``title`` says what ran, for the others see below."""
        found = figures(report, looked)
        return CheckedRun(
            command="explain",
            started=self.started,
            seconds=self.seconds,
            findings=(*findings(report, looked), title),
            figures=found,
            verdicts=judge(checks.thresholds, found),
            images=tuple(self.images),
            worst=tuple(self.worst),
        )


def _predicted(image: ImageRecord) -> str:
    several = image.predicted_classes
    if several is None:
        return image.prediction.prediction
    return listed((one.prediction for one in several), _CLASSES) or "no class above 0.5"


def _true(image: ImageRecord) -> str:
    if image.true_classes is not None:
        return listed((one.title for one in image.true_classes.positive), _CLASSES) or "none"
    return "" if image.ground_truth is None else image.ground_truth.title


def findings(report: RunReport, looked: ScanReport | None) -> Iterator[str]:
    """What a run found, in sentences; for the arguments see :func:`figures`."""
    failed = f", {report.failed} failed" if report.failed else ""
    yield f"{counted(report.done, 'image')} explained{failed}."
    among = report if looked is None else looked
    accuracy, several = among.accuracy, among.multi_label
    if accuracy.known:
        yield (
            f"{accuracy.correct} of {counted(accuracy.known, 'prediction')} "
            f"{'is' if accuracy.correct == 1 else 'are'} correct."
        )
        for truth, predicted, count in accuracy.confusions[:1]:
            yield (
                f"The most frequent confusion: {count} x {report.names[truth]} predicted as "
                f"{report.names[predicted]}."
            )
    known = several.correct + several.incorrect
    if known:
        yield (
            f"Exactly the true classes are above 0.5 in {several.correct} of "
            f"{counted(known, 'image')}."
        )
