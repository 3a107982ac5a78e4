"""What comparing two runs comes to over all images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from cnnviz.comparison.classes import Classes
from cnnviz.comparison.comparison import Pair, Side
from cnnviz.comparison.findings import findings, notes
from cnnviz.comparison.metrics import metric_changes
from cnnviz.comparison.records import (
    OUTCOMES,
    ClassChangeRecord,
    ComparisonRecord,
    ConfusionChangeRecord,
    GroupRecord,
    MeanRecord,
    UnpairedRecord,
)
from cnnviz.errors import MapError
from cnnviz.labels.average_precision import MultiLabelAccuracy
from cnnviz.metrics.location import MEAN_IMAGES, mean_map
from cnnviz.metrics.paired import mcnemar
from cnnviz.metrics.statistics import mean_of
from cnnviz.runs.image_records import ExplanationRecord, HeatmapRecord, ImageRecord
from cnnviz.types import Float32


def summarize(
    a: Side,
    b: Side,
    classes: Classes,
    pairs: Sequence[Pair],
    unpaired: Sequence[UnpairedRecord],
) -> ComparisonRecord:
    """The summary of all images that were compared."""
    outcomes = Counter(pair.record.outcome for pair in pairs)
    known = [pair for pair in pairs if pair.record.outcome not in ("changed", "unchanged")]
    right_a = np.array([pair.record.a.correct for pair in known], np.float64)
    right_b = np.array([pair.record.b.correct for pair in known], np.float64)
    names = classes.names
    summary = ComparisonRecord(
        findings=(),
        notes=(),
        images=len(pairs),
        outcomes={name: outcomes[name] for name in OUTCOMES if outcomes[name]},
        changed=sum(pair.record.changed for pair in pairs),
        accuracy_a=MeanRecord.of(mean_of(right_a)),
        accuracy_b=MeanRecord.of(mean_of(right_b)),
        accuracy_change=MeanRecord.of(mean_of(right_b - right_a)),
        mcnemar=mcnemar(outcomes["fixed"], outcomes["broken"]) if known else None,
        mean_average_precision_a=_mean_precision([pair.a for pair in pairs]),
        mean_average_precision_b=_mean_precision([pair.b for pair in pairs]),
        classes=tuple(_classes(classes, known)),
        confusions=tuple(_confusions(classes, known)),
        only_a=tuple(names[number] for number in classes.only_a),
        only_b=tuple(names[number] for number in classes.only_b),
        groups=tuple(_groups(pairs)),
        metrics=tuple(metric_changes(a, b, pairs)),
        unpaired=tuple(unpaired),
    )
    return _told(summary, a, b, classes, pairs)


def _told(
    summary: ComparisonRecord, a: Side, b: Side, classes: Classes, pairs: Sequence[Pair]
) -> ComparisonRecord:
    """The summary with the sentences that it comes to."""
    return replace(
        summary,
        findings=tuple(findings(summary, a.name, b.name, classes, pairs)),
        notes=tuple(notes(summary, a, b, classes, pairs)),
    )


def _mean_precision(images: Iterable[ImageRecord]) -> float | None:
    """The mean average precision of images that may belong to several classes."""
    accuracy = MultiLabelAccuracy()
    for image in images:
        truth = image.true_classes
        if truth is not None:
            accuracy.add(truth.logits, truth.label_set, correct=image.correct is True)
    return accuracy.mean()


def _classes(classes: Classes, pairs: Sequence[Pair]) -> Iterator[ClassChangeRecord]:
    """Each class that an image belongs to: whether it is among the predicted ones."""
    counts: dict[int, Counter[str]] = {}
    predicted: dict[str, Counter[int]] = {"a": Counter(), "b": Counter()}
    for pair in pairs:
        by_a, by_b = classes.predicted_by_a(pair.a), classes.predicted_by_b(pair.b)
        predicted["a"].update(by_a)
        predicted["b"].update(by_b)
        for number in pair.truths:
            found = counts.setdefault(number, Counter())
            in_a, in_b = number in by_a, number in by_b
            found.update(
                images=1,
                correct_a=int(in_a),
                correct_b=int(in_b),
                fixed=int(in_b and not in_a),
                broken=int(in_a and not in_b),
            )
    for number in sorted(counts):
        found = counts[number]
        yield ClassChangeRecord(
            name=classes.names[number],
            images=found["images"],
            correct_a=found["correct_a"],
            correct_b=found["correct_b"],
            fixed=found["fixed"],
            broken=found["broken"],
            predicted_a=predicted["a"][number],
            predicted_b=predicted["b"][number],
        )


def _confusions(classes: Classes, pairs: Sequence[Pair]) -> Iterator[ConfusionChangeRecord]:
    """Each true and wrongly predicted class, by how much it changed, most first."""
    counts_a, counts_b = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for pair in pairs:
        if pair.several or len(pair.truths) != 1:
            continue
        (truth,) = pair.truths
        counts_a[truth, pair.class_a] += 1
        counts_b[truth, pair.class_b] += 1
    found = [cell for cell in counts_a | counts_b if cell[0] != cell[1]]
    found.sort(key=lambda cell: (-abs(counts_b[cell] - counts_a[cell]), -counts_a[cell], cell))
    for truth, one in found:
        yield ConfusionChangeRecord(
            classes.names[truth],
            classes.names[one],
            truth,
            one,
            counts_a[truth, one],
            counts_b[truth, one],
        )


def _groups(pairs: Sequence[Pair]) -> Iterator[GroupRecord]:
    """All images, then those of each outcome."""
    yield _group("all", pairs)
    for name in OUTCOMES:
        members = [pair for pair in pairs if pair.record.outcome == name]
        if members:
            yield _group(name, members)


def _group(name: str, pairs: Sequence[Pair]) -> GroupRecord:
    seen = [pair for pair in pairs if pair.record.agreement is not None]
    agreements = [pair.record.agreement for pair in seen if pair.record.agreement is not None]
    return GroupRecord(
        name=name,
        images=len(pairs),
        maps=len(seen),
        elsewhere=sum(one.elsewhere for one in agreements),
        spearman=_plain_mean(one.spearman for one in agreements),
        common=_plain_mean(one.common for one in agreements),
        peak_distance=_plain_mean(one.peak_distance for one in agreements),
        border_a=_plain_mean(pair.record.a.border for pair in seen),
        border_b=_plain_mean(pair.record.b.border for pair in seen),
        corners_a=_corners(pair.record.a.corners for pair in seen),
        corners_b=_corners(pair.record.b.corners for pair in seen),
        map_a=_mean_heatmap(pair.explanation_a for pair in seen),
        map_b=_mean_heatmap(pair.explanation_b for pair in seen),
    )


def _plain_mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _corners(
    values: Iterable[tuple[float, float, float, float] | None],
) -> tuple[float, float, float, float] | None:
    there = [value for value in values if value is not None]
    if not there:
        return None
    top_left, top_right, bottom_left, bottom_right = np.mean(there, axis=0).tolist()
    return top_left, top_right, bottom_left, bottom_right


def _mean_heatmap(explanations: Iterable[ExplanationRecord | None]) -> HeatmapRecord | None:
    """Of so many that the mean says more than they do; None if they differ in shape, too."""
    maps: list[Float32] = [
        one.location.heatmap.values()
        for one in explanations
        if one is not None and one.location is not None
    ]
    if len(maps) < MEAN_IMAGES:
        return None
    try:
        return HeatmapRecord.of(mean_map(maps))
    except MapError:
        return None
